"""What documents say of measurements is what was measured, and the reckoning on it is right."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from policies.cost import Prices, read_prices

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    """A benchmark, which is no module of a package."""
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_cost_page_is_that_of_the_results_and_the_prices() -> None:
    cost = script("serving/cost")
    results = json.loads(cost.RESULTS.read_text())
    assert cost.PAGE.read_text() == cost.page(results), "run `python benchmarks/serving/cost.py`"


def test_a_million_predictions_cost_their_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = script("serving/cost")
    # 100 µs for 4 rows are 25 s of CPU a million, 50 s that are paid for at a utilisation of 0.5.
    answer = cost.Answer("ours", "trees", 4, 100.0)
    assert cost.cost(answer, cost.Family("m7i", 0.36, True, ("smb",))) == pytest.approx(0.005)

    prices = read_prices().model_dump()
    prices["prices"]["ec2:m7i"]["usd"] *= 3
    before = {family.name: family.usd for family in cost.families()}
    monkeypatch.setattr(cost, "read_prices", lambda: Prices.model_validate(prices))
    after = {family.name: family.usd for family in cost.families()}
    assert after == before | {"m7i": pytest.approx(3 * before["m7i"])}


def test_the_families_are_those_of_the_stacks_inference_without_gpus() -> None:
    found = {family.name: family.stacks for family in script("serving/cost").families()}
    assert "prod" in found["m7g"]
    assert "smb" in found["m7i"]
    assert not any(name.startswith("g") for name in found)


def test_the_report_of_look_ups_is_that_of_their_results() -> None:
    table = script("features/lookup_table")
    document = json.loads((table.HERE / "results.json").read_text())
    assert (table.HERE / "RESULTS.md").read_text() == table.render(document)

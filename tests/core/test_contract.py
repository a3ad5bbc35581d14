import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contract import FAIRNESS_METRICS, METRICS, Bound, DataContract, Task, load_contract, parse_contract
from core.digest import ROOT
from core.errors import ContractError

SAMPLES = sorted((ROOT / "datasets").glob("*/contract.yaml"))


def minimal() -> dict[str, Any]:
    """The shortest document that is a contract."""
    return {
        "name": "loans",
        "version": 1,
        "title": "Loans",
        "description": "Whether a loan is repaid.",
        "owner": {"team": "credit", "contact": "credit@example.ae"},
        "task": "binary_classification",
        "columns": {
            "loan": {"type": "string", "role": "entity", "description": "Number"},
            "opened": {"type": "timestamp", "role": "event_time", "description": "Day"},
            "amount": {"type": "float", "role": "feature", "min": 0, "description": "AED"},
            "repaid": {"type": "category", "role": "target", "values": [0, 1], "description": "Repaid"},
        },
        "purpose": {"id": "credit_risk", "version": 1, "description": "Decide on loans."},
        "lawful_basis": "not_personal",
        "retention": {"days": 30},
        "automated_decision": {"high_impact": False, "human_review": False},
        "training": {},
        "quality": {"roc_auc": {"min": 0.6}},
        "drift": {"limit": 0.1},
    }


def parse(document: object) -> DataContract:
    return parse_contract(yaml.safe_dump(document, sort_keys=False))


def edited(path: str, value: object) -> dict[str, Any]:
    document = minimal()
    *folders, last = path.split(".")
    place = document
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return document


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_the_samples_are_valid_and_round_trip(path: Path) -> None:
    contract = load_contract(path)

    assert contract.name == path.parent.name
    assert DataContract.model_validate_json(contract.model_dump_json()) == contract
    assert parse(contract.model_dump(mode="json")) == contract


def test_roles_select_columns_in_the_contract_order() -> None:
    contract = load_contract(ROOT / "datasets/employment/contract.yaml")

    assert (contract.entity, contract.event_time, contract.target) == ("person_id", "surveyed_at", "employed")
    assert list(contract.features)[:3] == ["AGEP", "SCHL", "MAR"]
    assert list(contract.groups) == ["SEX", "RAC1P"]
    assert contract.personal
    assert not parse(minimal()).personal


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("nmae", "loans", "nmae: Extra inputs"),
        ("name", "Loans 2", "name: String should match pattern"),
        ("version", 0, "version: "),
        ("columns.amount.role", "feture", "columns.amount.role: "),
        ("columns.amount.minimum", 3, "columns.amount.minimum: Extra inputs"),
        ("columns.amount.max", -1, "min 0.0 is above max -1.0"),
        ("columns.amount.max", float("nan"), "finite number"),
        ("columns.amount.type", "string", "no range"),
        ("columns.loan.min", 1, "no range"),
        ("columns.loan.nullable", True, "cannot be nullable"),
        ("columns.repaid.values", [0], "at least two values"),
        ("columns.repaid.values", [0, 0], "listed twice"),
        ("columns.repaid.values", [False, True], "quote them"),
        ("columns.repaid.values", ["no", "yes"], "binary target"),
        ("columns.repaid.labels", {2: "unknown"}, "2 is not one of the values"),
        ("columns.amount.values", [1, 2], "only a category has them"),
        ("columns.bad name", {"type": "float", "role": "feature", "description": "x"}, "not a usable column name"),
        ("columns.other", {"type": "string", "role": "entity", "description": "x"}, "exactly one column"),
        ("columns.area", {"type": "float", "role": "group", "description": "x"}, "fairness group is a category"),
        ("columns.area", {"type": "string", "role": "feature", "description": "x"}, "a feature is"),
        (
            "columns.sex",
            {"type": "category", "role": "group", "values": ["f", "m"], "description": "x"},
            "limits are missing",
        ),
        ("fairness", {"limits": {"demographic_parity_difference": 0.1}}, "no column has the role group"),
        ("quality", {}, "at least one gate"),
        ("quality", {"r2": {"min": 0}}, "not a metric of binary_classification"),
        ("quality.roc_auc", {}, "needs a min or a max"),
        ("task", "regression", "a regression target"),
        ("columns.amount.personal", True, "not_personal, yet amount"),
        ("lawful_basis", "consent", "consent: required"),
        ("consent", {"source": "consent.csv"}, "only then"),
        ("automated_decision.high_impact", True, "PDPL Art 18"),
        ("drift.limit", 0, "drift.limit: "),
        ("training.holdout", 0.5, "training.holdout: "),
    ],
)
def test_a_fault_is_named_with_its_place(path: str, value: object, message: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(edited(path, value))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dpia": {"reference": " ", "expires": "2100-01-01"}}, "dpia.reference: "),
        ({"fairness": {"limits": {"demographic_parity_difference": 1}}}, "rates differ by 1 at most"),
    ],
)
def test_what_says_nothing_is_refused(changes: dict[str, object], message: str) -> None:
    document = minimal()
    document["columns"]["sex"] = {"type": "category", "role": "group", "values": ["f", "m"], "description": "x"}
    document["fairness"] = {"limits": {"demographic_parity_difference": 0.1}}
    parse(document)
    with pytest.raises(ContractError, match=message):
        parse(document | changes)


def test_a_sensitive_column_needs_an_assessment() -> None:
    document = minimal()
    document["lawful_basis"] = "public_interest"
    document["columns"]["amount"]["sensitive"] = True

    with pytest.raises(ContractError, match="dpia: required, since amount is sensitive"):
        parse(document)


@pytest.mark.parametrize("key", ["name", "columns", "purpose", "lawful_basis", "retention", "quality", "drift"])
def test_a_missing_part_is_named(key: str) -> None:
    document = minimal()
    del document[key]

    with pytest.raises(ContractError, match=f"{key}: Field required"):
        parse(document)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(ContractError, match="'min' stands twice"):
        parse_contract("a: {min: 1, max: 2, min: 3}")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "? [a]\n: b", "!!bool maybe", "!!timestamp x", "!!int ''", "a: &a [*a]", "\x00", "- " * 5000],
)
def test_what_is_no_contract_is_a_contract_error(text: str) -> None:
    with pytest.raises(ContractError):
        parse_contract(text)


@given(text=st.text())
@settings(max_examples=300, deadline=None)
def test_text_never_raises_anything_else(text: str) -> None:
    with pytest.raises(ContractError):
        parse_contract(text)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def _places(value: object, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [prefix]
    inner = [place for key, child in value.items() for place in _places(child, (*prefix, key))]
    return [prefix, *inner] if prefix else inner


@given(place=st.sampled_from(_places(minimal())), value=_VALUES)
@settings(max_examples=500, deadline=None)
def test_one_wrong_part_never_raises_anything_else(place: tuple[str, ...], value: object) -> None:
    document = copy.deepcopy(minimal())
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value

    try:
        contract = parse(document)
    except ContractError:
        return
    assert isinstance(contract, DataContract)


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{1,20}", fullmatch=True)
_BOUND = st.floats(-1e6, 1e6)
_NUMBERS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["float", "integer"]),
        "role": st.just("feature"),
        "description": st.text(max_size=20),
        "nullable": st.booleans(),
    },
    optional={"min": _BOUND.map(lambda value: -abs(value)), "max": _BOUND.map(abs)},
)
_CATEGORIES = st.builds(
    lambda values, labelled: {
        "type": "category",
        "role": "feature",
        "description": "",
        "values": values,
        "labels": {value: f"{value}!" for value in values} if labelled else {},
    },
    st.lists(st.integers(-100, 100), min_size=2, max_size=6, unique=True)
    | st.lists(st.text(max_size=6), min_size=2, max_size=6, unique=True),
    st.booleans(),
)


@given(
    columns=st.dictionaries(_NAMES.map("f_".__add__), _NUMBERS | _CATEGORIES, max_size=5), until=st.none() | st.dates()
)
@settings(max_examples=200, deadline=None)
def test_valid_contracts_round_trip(columns: dict[str, Any], until: object) -> None:
    document = minimal()
    document["columns"] |= columns
    document["training"]["until"] = until

    contract = parse(document)

    assert list(contract.columns) == list(document["columns"])
    assert parse(contract.model_dump(mode="json")) == contract
    assert DataContract.model_validate_json(contract.model_dump_json()) == contract


@given(low=st.none() | st.floats(-1, 1), high=st.none() | st.floats(-1, 1), value=st.floats())
def test_a_bound_admits_what_lies_within(low: float | None, high: float | None, value: float) -> None:
    if low is None and high is None:
        with pytest.raises(ValueError, match="min or a max"):
            Bound(min=low, max=high)
        return
    within = (low is None or value >= low) and (high is None or value <= high) and value == value

    assert Bound(min=low, max=high).admits(value) == within


def test_a_contract_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        load_contract(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"title: \xe9")
    with pytest.raises(ContractError, match="cannot be read"):
        load_contract(tmp_path / "latin.yaml")
    with pytest.raises(ContractError, match="cannot be read"):
        load_contract("nosuchscheme://bucket/contract.yaml")


def test_every_task_has_its_metrics() -> None:
    assert set(METRICS) == set(FAIRNESS_METRICS) == set(Task)

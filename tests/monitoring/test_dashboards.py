import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.runtime.metrics import Metrics
from tools.build import BIN

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "monitoring" / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "monitoring" / "alerts").rglob("*.yaml"))
_WORDS = {"and", "or", "unless", "offset", "bool", "time", "vector"}


def exported() -> set[str]:
    """Names of all series that rules and dashboards may use."""
    registry = CollectorRegistry()
    Metrics(registry)
    own = set()
    for family in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        own |= {family.name + suffix for suffix in suffixes}
    others = yaml.safe_load((Path(__file__).parent / "exported.yaml").read_text())
    return own | {name for names in others.values() for name in names}


def dashboard(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def expressions(file: Path) -> Iterator[str]:
    """What the panels of a dashboard, or the rules of a file, ask Prometheus."""
    if file.suffix == ".json":
        for panel in dashboard(file)["panels"]:
            yield from (target["expr"].replace("$__rate_interval", "5m") for target in panel["targets"])
    else:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def metrics(expression: str) -> set[str]:
    """Names of the series in an expression."""
    named = set(re.findall(r'__name__=~"([^"]+)"', expression))
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", text)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    # A number's unit, such as 5m, is no name.
    return named | (set(re.findall(r"(?<![\w.])[A-Za-z_:]\w*(?!\w|\s*\()", text)) - _WORDS)


@pytest.mark.parametrize("file", [*DASHBOARDS, *RULES], ids=lambda file: file.name)
def test_only_what_is_exported_is_asked_for(file: Path) -> None:
    used = set().union(*(metrics(expression) for expression in expressions(file)))
    assert used, "nothing is asked for"
    assert used - exported() == set()


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_prometheus_understands_each_panel(file: Path, tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or shutil.which("promtool", path=str(BIN))
    assert promtool, "run `make tools`"
    rules = [{"record": f"panel:{index}", "expr": expr} for index, expr in enumerate(expressions(file))]
    written = tmp_path / "panels.yaml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(written)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_told_apart_and_read_the_one_prometheus() -> None:
    found = [dashboard(file) for file in DASHBOARDS]
    assert len({board["uid"] for board in found}) == len({board["title"] for board in found}) == len(found)
    for board in found:
        assert not board["editable"], "Grafana would keep a change that the next update takes back"
        sources = {panel["datasource"]["uid"] for panel in board["panels"]}
        assert sources == {"${datasource}"}
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places)


def test_a_rule_says_what_to_do_and_how_urgent_it_is() -> None:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule["alert"]
                assert {"summary", "action"} <= rule["annotations"].keys(), rule["alert"]


def test_names_are_found_in_an_expression() -> None:
    found = metrics(
        'sum by (a) (rate(b_total{c="d"}[5m])) / on (e) group_left () f > 1.5e3 and {__name__=~"g_.*"} offset 5m'
    )
    assert found == {"b_total", "f", "g_.*"}

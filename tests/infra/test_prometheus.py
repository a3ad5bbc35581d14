import json
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.services.prometheus import configuration, targets
from infra.substrates.base import Target
from tools.build import BIN

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "monitoring" / "alerts").glob("*.yaml"))
TESTS = sorted(Path(__file__).parent.glob("*.test.yaml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool") or shutil.which("promtool", path=str(BIN))
    assert found, "run `make tools`"
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration(promtool: str, tmp_path: Path) -> None:
    watched = tmp_path / "targets.json"
    watched.write_text(targets([Target(service="mlflow", port=5000, path="/metrics")]))
    file = tmp_path / "prometheus.yml"
    file.write_text(configuration(5, str(watched), [str(rule) for rule in RULES]))
    run(promtool, "check", "config", str(file))


@pytest.mark.parametrize("tests", TESTS, ids=lambda file: file.name)
def test_the_rules_alert_when_they_should_and_only_then(promtool: str, tests: Path) -> None:
    run(promtool, "test", "rules", str(tests))


def test_a_target_keeps_its_own_metrics_path() -> None:
    found = json.loads(targets([Target(service="b", port=2, path="/x"), Target(service="a", port=1, path="/y")]))
    assert [(group["targets"], group["labels"]) for group in found] == [
        (["127.0.0.1:1"], {"job": "a", "__metrics_path__": "/y"}),
        (["127.0.0.1:2"], {"job": "b", "__metrics_path__": "/x"}),
    ]

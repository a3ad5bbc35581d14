"""What the runtime is scaled by, as Prometheus's own evaluation has it of what a runtime really exports."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.errors import ConfigError
from falaj.commands.plan import graph
from infra.config import parse_config
from infra.plan import Resource
from infra.signals import runtime_signals
from infra.substrates.base import Signal
from tests.infra.variations import document
from tests.serving.conftest import publish, running
from tools.build import BIN

_STEP = 15
_SERIES = re.compile(r"^(falaj_(?:runtime_busy|inference_queue)_seconds\w*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def exported(url: str) -> dict[tuple[str, str], float]:
    """By name and labels, what the signals are made from."""
    found = _SERIES.findall(httpx.get(f"{url}/metrics").text)
    return {(name, labels): float(value) for name, labels, value in found if "bucket" not in name}


def evaluated(queries: Mapping[str, float], series: Mapping[str, str], folder: Path) -> None:
    """Have promtool evaluate the queries ten minutes after the series begin."""
    promtool = shutil.which("promtool") or shutil.which("promtool", path=str(BIN))
    assert promtool, "run `make tools`"
    expected = [
        {
            "expr": f"abs(({query}) / {value!r} - 1) < bool 1e-6",
            "eval_time": "10m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for query, value in queries.items()
    ]
    group = {
        "interval": f"{_STEP}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": expected,
    }
    (folder / "test.yaml").write_text(yaml.safe_dump({"tests": [group]}))
    done = subprocess.run([promtool, "test", "rules", str(folder / "test.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def where(pod: str) -> str:
    """Labels that Prometheus adds to what a pod exports."""
    return f'namespace="falaj",pod="{pod}"'


def signals(stack: str) -> dict[str, Signal]:
    return {signal.name: signal for signal in runtime_signals(parse_config(document(stack), stack))}


def test_signals_are_what_a_running_runtime_exports(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [40, 12, 1]}]}
    with running(tmp_path / "models", tmp_path / "log") as runtime:

        def ask(count: int) -> None:
            for _ in range(count):
                assert httpx.post(f"{runtime.url}/v2/models/jobs/infer", json=body).status_code == 200

        ask(1)
        before = exported(runtime.url)
        began = time.perf_counter()
        ask(50)
        after, seconds = exported(runtime.url), time.perf_counter() - began

    names = {name for name, _ in after}
    assert names == {f"falaj_{name}" for name in ("runtime_busy_seconds_total", *_parts("inference_queue_seconds"))}
    grown = {key: after[key] - before[key] for key in after}
    ((_, busy),) = [(key, value) for key, value in grown.items() if "busy" in key[0]]
    waited, count = (
        sum(value for (name, _), value in grown.items() if name == f"falaj_{part}")
        for part in _parts("inference_queue_seconds")
    )
    assert 0 < busy < seconds
    assert 0 < waited < seconds
    assert count == 50

    # Three pods do again and again what this one did, and one of another Deployment more of it.
    pods = {f"inference-5d4f8c9b7-a1b2{number}": 1 for number in range(3)} | {"inference-gpu-5d4f8c9b7-a1b2c": 7}
    series = {
        f"{name}{{{labels}{',' if labels else ''}{where(pod)}}}": f"{before[name, labels]}+{value * times:.9f}x100"
        for (name, labels), value in grown.items()
        for pod, times in pods.items()
    }
    found = signals("prod")
    evaluated(
        {
            found["busy"].query("falaj", "inference"): 3 * busy / _STEP,
            found["wait"].query("falaj", "inference"): 3 * waited / count,
        },
        series,
        tmp_path,
    )


def _parts(histogram: str) -> tuple[str, str]:
    return f"{histogram}_sum", f"{histogram}_count"


def test_the_targets_are_those_of_the_stack() -> None:
    changed = document("prod") | {"scaling": {"busy_percent": 55, "wait_milliseconds": 5}}
    found = runtime_signals(parse_config(changed, "prod"))
    assert {signal.name: signal.target for signal in found} == {"busy": "0.55", "wait": "0.005"}
    # A rate needs several scrapes.
    assert all("[120s]" in signal.expression for signal in found)


def test_without_prometheus_nothing_can_be_followed() -> None:
    changed = document("onprem")
    changed.pop("cost_monitor", None)
    changed.pop("prometheus")
    with pytest.raises(ConfigError, match="scaling follows what prometheus reads"):
        parse_config(changed, "onprem")


@pytest.fixture(scope="module")
def planned() -> dict[str, Resource]:
    return {f"{one.type.rpartition(':')[2]} {one.name}": one for one in graph("onprem").resources}


def test_a_scaled_runtime_says_no_replicas_and_is_there_before_what_scales_it(planned: dict[str, Resource]) -> None:
    scaled, deployment = planned["ScaledObject inference"], planned["Deployment inference"]
    assert "HorizontalPodAutoscaler inference" not in planned
    assert "replicas" not in deployment.inputs["spec"]
    before = {urn.rpartition("::")[2] for urn in scaled.dependencies}
    assert {"inference", "keda", "falaj"} <= before
    assert deployment.urn in scaled.dependencies


def test_a_scaled_object_is_within_the_stacks_bounds_and_follows_the_cpu_too(planned: dict[str, Resource]) -> None:
    spec: dict[str, Any] = json.loads(json.dumps(planned["ScaledObject inference"].inputs["spec"]))
    stack = document("onprem")["inference"]["replicas"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (stack["minimum"], stack["maximum"])
    cpu, *read = spec["triggers"]
    assert cpu == {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}
    queries = {trigger["name"]: trigger["metadata"]["query"] for trigger in read}
    assert queries == {name: signal.query("falaj", "inference") for name, signal in signals("onprem").items()}
    assert {trigger["metricType"] for trigger in read} == {"AverageValue"}


def test_a_small_stacks_runtime_follows_its_one_core() -> None:
    assert runtime_signals(parse_config(document("smb"), "smb")) == []

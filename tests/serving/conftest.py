"""A small model, and a runtime in a process of its own to serve it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rehearsal.ports import free_ports

ROOT = Path(__file__).parents[2]
# Feast, imported by other tests, sets this for its own server; the runtime's metrics would go to files there.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"} | {
    "CUDA_VISIBLE_DEVICES": ""
}
COLUMNS = ("AGEP", "SCHL", "WAGE")
LINEAGE = dict.fromkeys(("contract", "data", "code", "environment"), "sha256:0") | {
    "pipeline_run": "run",
    "mlflow_run": "run",
}


def spec(name: str = "jobs", text: bool = False, pseudonymised: bool = True) -> dict[str, Any]:
    inputs = [{"name": "features", "datatype": "FP32", "shape": [-1, 3], "columns": COLUMNS}]
    if text:
        inputs.append({"name": "text_features", "datatype": "BYTES", "shape": [-1, 1], "columns": ["AREA"]})
    return {
        "name": name,
        "task": "binary_classification",
        "inputs": inputs,
        "outputs": [
            {"name": "probability", "datatype": "FP32", "shape": [-1]},
            {"name": "label", "datatype": "INT64", "shape": [-1]},
        ],
        "ranges": {
            "AGEP": {"min": 0, "max": 99},
            "SCHL": {"min": 0, "max": 24},
            "WAGE": {"min": 0, "nullable": True},
        },
        "categories": {"AREA": ["north", "south"]} if text else {},
        "features": {"entity": "person_id", "view": name, "service": name, "pseudonymised": pseudonymised},
        "lineage": LINEAGE,
    }


def export(folder: Path, bias: float = 0.0, text: bool = False, **of_spec: Any) -> Path:
    """An exported model: logistic regression over three columns, where a missing one counts as zero."""
    weights = np.array([[0.05], [-0.1], [1e-5]], np.float32)
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["linear"]),
        helper.make_node("Add", ["linear", "bias"], ["score"]),
    ]
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 3])]
    score = "score"
    if text:
        inputs.append(helper.make_tensor_value_info("text_features", TensorProto.STRING, [None, 1]))
        nodes += [
            helper.make_node(
                "LabelEncoder",
                ["text_features"],
                ["area"],
                domain="ai.onnx.ml",
                keys_strings=["north", "south"],
                values_floats=[0.5, -0.5],
                default_float=0.0,
            ),
            helper.make_node("Add", ["score", "area"], ["with_area"]),
        ]
        score = "with_area"
    nodes += [
        helper.make_node("Sigmoid", [score], ["column"]),
        helper.make_node("Reshape", ["column", "flat"], ["probability"]),
        helper.make_node("Greater", ["probability", "half"], ["above"]),
        helper.make_node("Cast", ["above"], ["label"], to=TensorProto.INT64),
    ]
    constants = {
        "zero": np.float32(0),
        "weights": weights,
        "bias": np.array([bias], np.float32),
        "flat": np.array([-1], np.int64),
        "half": np.float32(0.5),
    }
    graph = helper.make_graph(
        nodes,
        "jobs",
        inputs,
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=9,
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "model.json").write_text(json.dumps(spec(text=text, **of_spec)))
    return folder


def expected(rows: Any, bias: float = 0.0) -> np.ndarray[Any, Any]:
    """What the model of `export` gives, computed without it."""
    filled = np.nan_to_num(np.asarray(rows, np.float64), nan=0.0)
    return np.asarray(1 / (1 + np.exp(-(filled @ [0.05, -0.1, 1e-5] + bias))))


def publish(repository: Path, version: int, previous: int | None = None, name: str = "jobs", **of_export: Any) -> None:
    export(repository / name / str(version), name=name, **of_export)
    (repository / name / "live.json").write_text(json.dumps({"live": version, "previous": previous}))


@dataclass
class Runtime:
    """A running runtime."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    log: Path
    output: Path
    command: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running(
    repository: Path, log: Path, *flags: str, wait: bool = True, limit: Callable[[], None] | None = None
) -> Iterator[Runtime]:
    port, grpc_port = free_ports(2)
    output = log.parent / f"runtime-{port}.txt"
    command = [sys.executable, "-m", "serving.runtime"]
    command += ["--http-port", str(port), "--grpc-port", str(grpc_port)]
    command += ["--model-repository", str(repository), "--inference-log", str(log), *flags]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
            preexec_fn=limit,
            env=ENVIRONMENT,
        )
    runtime = Runtime(process, port, grpc_port, log, output, command)
    try:
        if wait:
            wait_ready(runtime)
        yield runtime
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_ready(runtime: Runtime, timeout: float = 40) -> None:
    wait_for(lambda: status(f"{runtime.url}/v2/health/ready") == 200, runtime, timeout)


def wait_for(condition: Callable[[], bool], runtime: Runtime, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if runtime.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(runtime.output.read_text())
        time.sleep(0.05)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - a local address
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """One runtime for all tests that do not disturb it: jobs with versions 1 and 2 live, areas with text."""
    folder = tmp_path_factory.mktemp("served")
    publish(folder / "models", 1, bias=0.5)
    publish(folder / "models", 2, previous=1)
    publish(folder / "models", 1, name="areas", text=True)
    with running(folder / "models", folder / "log", "--log-rotate-seconds", "1") as runtime:
        yield runtime


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported transformer."""
    from tests.serving.sequences import export_text

    return export_text(tmp_path_factory.mktemp("exported") / "text")


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of sequences without a mask."""
    from tests.serving.sequences import export_sums

    return export_sums(tmp_path_factory.mktemp("exported") / "sums")

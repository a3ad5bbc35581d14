"""The two models of the benchmark, as the pipeline exports them: model.onnx and model.json."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAME = "bench"
TITLES = {"trees": "100 trees of depth 3, 16 columns", "mlp": "MLP 128-1024-1024-2"}
_TREES, _DEPTH, _TREE_COLUMNS = 100, 3, 16
_MLP = (128, 1024, 1024, 2)
_VALUES = 10.0


def rows(model: str, count: int) -> list[list[float]]:
    """Inputs within the ranges of the model's spec."""
    columns = _TREE_COLUMNS if model == "trees" else _MLP[0]
    values: list[list[float]] = np.random.default_rng(1).uniform(0, _VALUES, (count, columns)).round(3).tolist()
    return values


def export(model: str, folder: Path) -> None:
    """Write `trees` (100 of depth 3 over 16 columns) or `mlp` (128-1024-1024-2)."""
    folder.mkdir(parents=True)
    nodes, constants, columns = _trees() if model == "trees" else _mlp()
    nodes += [
        helper.make_node("Reshape", ["column", "flat"], ["probability"]),
        helper.make_node("Greater", ["probability", "half"], ["above"]),
        helper.make_node("Cast", ["above"], ["label"], to=TensorProto.INT64),
    ]
    constants |= {"flat": np.array([-1], np.int64), "half": np.float32(0.5)}
    graph = helper.make_graph(
        nodes,
        model,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, columns])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")
    (folder / "model.json").write_text(json.dumps(_spec(columns)))


def _trees() -> tuple[list[Any], dict[str, Any], int]:
    random = np.random.default_rng(0)
    inner = 2**_DEPTH - 1
    ids = list(range(2 ** (_DEPTH + 1) - 1))
    modes = ["BRANCH_LEQ" if node < inner else "LEAF" for node in ids]
    leaves = [node for node in ids if node >= inner]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["score"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=np.repeat(range(_TREES), len(ids)).tolist(),
        nodes_nodeids=ids * _TREES,
        nodes_modes=modes * _TREES,
        nodes_featureids=random.integers(0, _TREE_COLUMNS, len(ids) * _TREES).tolist(),
        nodes_values=random.uniform(0, _VALUES, len(ids) * _TREES).astype(np.float32).tolist(),
        nodes_truenodeids=[2 * node + 1 if node < inner else 0 for node in ids] * _TREES,
        nodes_falsenodeids=[2 * node + 2 if node < inner else 0 for node in ids] * _TREES,
        target_treeids=np.repeat(range(_TREES), len(leaves)).tolist(),
        target_nodeids=leaves * _TREES,
        target_ids=[0] * len(leaves) * _TREES,
        target_weights=random.normal(0, 0.1, len(leaves) * _TREES).astype(np.float32).tolist(),
    )
    return [node, helper.make_node("Sigmoid", ["score"], ["column"])], {}, _TREE_COLUMNS


def _mlp() -> tuple[list[Any], dict[str, Any], int]:
    random = np.random.default_rng(0)
    nodes: list[Any] = []
    constants: dict[str, Any] = {"positive": np.array([1], np.int64)}
    value = "features"
    for layer, (wide, out) in enumerate(itertools.pairwise(_MLP)):
        constants[f"weight{layer}"] = (random.normal(0, 1, (wide, out)) / np.sqrt(wide)).astype(np.float32)
        constants[f"bias{layer}"] = np.zeros(out, np.float32)
        nodes.append(helper.make_node("Gemm", [value, f"weight{layer}", f"bias{layer}"], [f"sum{layer}"]))
        value = f"sum{layer}"
        if layer < len(_MLP) - 2:
            nodes.append(helper.make_node("Relu", [value], [f"relu{layer}"]))
            value = f"relu{layer}"
    nodes.append(helper.make_node("Softmax", [value], ["classes"], axis=1))
    nodes.append(helper.make_node("Gather", ["classes", "positive"], ["column"], axis=1))
    return nodes, constants, _MLP[0]


def _spec(columns: int) -> dict[str, Any]:
    names = [f"column_{index}" for index in range(columns)]
    digests = dict.fromkeys(("contract", "data", "code", "environment"), "sha256:0")
    return {
        "name": NAME,
        "task": "binary_classification",
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, columns], "columns": names}],
        "outputs": [
            {"name": "probability", "datatype": "FP32", "shape": [-1]},
            {"name": "label", "datatype": "INT64", "shape": [-1]},
        ],
        "ranges": {name: {"min": 0, "max": _VALUES} for name in names},
        "features": {"entity": "id", "view": NAME, "service": NAME, "pseudonymised": False},
        "lineage": digests | {"pipeline_run": "none", "mlflow_run": "none"},
    }

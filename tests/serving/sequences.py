"""Models of sequences: a transformer whose mask hides what is filled up, and running sums, which nothing would hide."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.serving.conftest import LINEAGE

IDS, LONGEST = 50, 40
PAD = 1
Request = dict[str, np.ndarray[Any, Any]]
"""A model's inputs by name."""


class Transformer(nn.Module):
    """One layer of attention over tokens with two measurements each, and pooling by mean, all under a mask."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(IDS, 16), nn.Embedding(LONGEST, 16)
        self.measured, self.attention, self.tags = nn.Linear(2, 16), nn.Linear(16, 48), nn.Linear(16, 3)
        self.score = nn.Linear(16, 1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, signal: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.tokens(ids) + self.places(torch.arange(ids.shape[1])) + self.measured(signal)
        query, key, value = self.attention(hidden).chunk(3, -1)
        scores = (query @ key.transpose(1, 2) / 4).masked_fill(mask[:, None, :] == 0, -torch.inf)
        hidden = hidden + scores.softmax(-1) @ value
        weights = mask.float()[..., None]
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        tags = self.tags(hidden)
        return torch.sigmoid(self.score(pooled))[:, 0], tags, tags.argmax(-1)


def tensor(name: str, datatype: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape} | more


def text_spec() -> dict[str, Any]:
    return {
        "name": "text",
        "task": "binary_classification",
        "inputs": [
            tensor("input_ids", "INT64", [-1, -1], padding=PAD),
            tensor("attention_mask", "INT64", [-1, -1], padding=0),
            tensor("signal", "FP32", [-1, -1, 2], padding=0, columns=["loudness", "pitch"]),
        ],
        "outputs": [
            tensor("probability", "FP32", [-1]),
            tensor("tags", "FP32", [-1, -1, 3]),
            tensor("tag", "INT64", [-1, -1]),
        ],
        "ranges": {
            "input_ids": {"min": 0, "max": IDS - 1},
            "loudness": {"min": 0, "max": 1},
            "pitch": {"min": -1, "max": 1},
        },
        "sequences": {"max_length": LONGEST, "mask": "attention_mask"},
        "lineage": LINEAGE,
    }


def export_text(folder: Path) -> Path:
    folder.mkdir(parents=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    rows, length = torch.export.Dim("rows"), torch.export.Dim("length")
    ones = torch.ones(2, 5, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Transformer().eval(),
            (ones, ones, torch.zeros(2, 5, 2)),
            input_names=["input_ids", "attention_mask", "signal"],
            output_names=["probability", "tags", "tag"],
            dynamo=True,
            dynamic_shapes=({0: rows, 1: length},) * 3,
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, folder / "model.onnx")
    (folder / "model.json").write_text(json.dumps(text_spec()))
    return folder


def sums_spec(padding: int | None = None) -> dict[str, Any]:
    """Without a mask, or with one that the graph ignores."""
    masked = padding is not None
    mask = [tensor("mask", "INT64", [-1, -1], padding=0)] if masked else []
    return {
        "name": "sums",
        "task": "regression",
        "inputs": [tensor("steps", "FP32", [-1, -1, 2], padding=padding), *mask],
        "outputs": [tensor("running", "FP32", [-1, -1, 2]), tensor("total", "FP32", [-1, 2])],
        "ranges": {"steps": {"min": -100, "max": 100}},
        "sequences": {"max_length": 20, "mask": "mask" if masked else None},
        "lineage": LINEAGE,
    }


def export_sums(folder: Path, padding: int | None = None) -> Path:
    folder.mkdir(parents=True)
    mask = [helper.make_tensor_value_info("mask", TensorProto.INT64, ["n", "length"])] if padding is not None else []
    graph = helper.make_graph(
        [
            helper.make_node("CumSum", ["steps", "one"], ["running"]),
            helper.make_node("ReduceSum", ["steps", "one"], ["total"], keepdims=0),
        ],
        "sums",
        [helper.make_tensor_value_info("steps", TensorProto.FLOAT, ["n", "length", 2]), *mask],
        [
            helper.make_tensor_value_info("running", TensorProto.FLOAT, ["n", "length", 2]),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, ["n", 2]),
        ],
        [numpy_helper.from_array(np.array([1]), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "model.json").write_text(json.dumps(sums_spec(padding)))
    return folder


def publish(repository: Path, folder: Path) -> None:
    """An exported model as version 1."""
    (repository / folder.name).mkdir(parents=True)
    (repository / folder.name / "1").symlink_to(folder)
    (repository / folder.name / "live.json").write_text(json.dumps({"live": 1, "previous": None}))


def raw(folder: Path) -> ort.InferenceSession:
    """The graph without the runtime."""
    return ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def text_request(rows: int, length: int, seed: int) -> Request:
    """Rows of one length, some of which their mask ends earlier, as a tokenizer would."""
    random = np.random.default_rng(seed)
    ends = random.integers(1, length, (rows, 1), endpoint=True)
    mask = (np.arange(length) < ends).astype(np.int64)
    ids = np.where(mask, random.integers(0, IDS, (rows, length)), PAD)
    signal = np.stack([random.random((rows, length)), random.uniform(-1, 1, (rows, length))], -1)
    return {"input_ids": ids, "attention_mask": mask, "signal": (signal * mask[..., None]).astype(np.float32)}


def sums_request(rows: int, length: int, seed: int) -> Request:
    return {"steps": np.random.default_rng(seed).integers(-9, 9, (rows, length, 2)).astype(np.float32)}


def same(answer: Any, expected: Any) -> None:
    """The same numbers, but for the order of a sum."""
    for one, other in zip(answer, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

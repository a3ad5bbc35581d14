"""Sequences of different lengths run together where their bucket is the same, and answers do not show it."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from core.errors import ServiceError
from core.model_spec import ModelSpec, Sequences
from serving.runtime.arrays import Arrays
from serving.runtime.batching import Batcher, Job
from serving.runtime.errors import RefusedError
from serving.runtime.identity import identity
from serving.runtime.lengths import buckets, run_length
from serving.runtime.log import InferenceLog, read_log
from serving.runtime.metrics import Metrics
from serving.runtime.model import Model
from serving.runtime.outputs import Outputs
from serving.runtime.providers import Device, _options
from tests.serving.sequences import (
    LONGEST,
    Request,
    export_sums,
    raw,
    same,
    sums_request,
    text_request,
    text_spec,
)


class Noted(Model):
    """Notes the rows and the length of each run, those of the warm-up too."""

    def __init__(self, folder: Path, max_batch_tokens: int = 16384) -> None:
        self.runs: list[tuple[int, int]] = []
        super().__init__(folder.name, 1, folder, threads=1, max_batch_rows=64, max_batch_tokens=max_batch_tokens)

    def run(self, inputs: Arrays) -> Arrays:
        self.runs.append(inputs[0].shape[:2])
        return super().run(inputs)


class Asked(Job):
    """A request whose outcome is its own rows of the outputs, or the reason for none."""

    def __init__(self, model: Model, request: Request, then: Callable[[], None] = lambda: None) -> None:
        self.inputs = [request[tensor.name].reshape(-1) for tensor in model.spec.inputs]
        self.rows, self.length = request[model.spec.inputs[0].name].shape[:2]
        self.identity = identity(None)
        self.started = time.perf_counter()
        self.deadline = np.inf
        self.then = then
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        self.outcome.set_result(outputs if isinstance(outputs, RefusedError) else outputs.all(start, end))
        self.then()


class Served:
    """A batcher with a log; what is asked in one turn is in one queue."""

    def __init__(self, model: Model, folder: Path, max_queue_seconds: float = 10) -> None:
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.model = model
        self.log = InferenceLog(folder, metrics, 1e9, 1 << 30)
        self.executor = ThreadPoolExecutor()
        self.batcher = Batcher(model, self.log, metrics, self.executor, 4096, max_queue_seconds)

    def ask(self, requests: list[Request]) -> list[Any]:
        async def run() -> list[Any]:
            jobs = [Asked(self.model, request) for request in requests]
            for job in jobs:
                try:
                    self.batcher.submit(job)
                except RefusedError as refused:
                    job.outcome.set_result(refused)
            return list(await asyncio.gather(*[job.outcome for job in jobs]))

        return asyncio.run(run())

    def counted(self, name: str) -> float:
        found = self.registry.get_sample_value(name, {"model": self.model.name, "version": "1"})
        assert found is not None
        return found


@given(longest=st.integers(1, 5000), length=st.integers(1, 5000))
def test_a_bucket_is_little_longer_than_what_it_holds(longest: int, length: int) -> None:
    lengths = buckets(longest)
    assert list(lengths) == sorted(set(lengths))
    assert lengths[-1] == longest
    assert all(size % 8 == 0 and size >= 8 for size in lengths[:-1])
    assert all(larger <= 2 * size if size == 8 else 2 * larger <= 3 * size for size, larger in pairwise(lengths))
    length = min(length, longest)
    chosen = run_length(length, Sequences(max_length=longest, mask="mask"))
    assert chosen == min(size for size in lengths if size >= length)
    assert run_length(length, Sequences(max_length=longest)) == length


def test_what_is_filled_up_does_not_show_in_answers_log_and_metrics(text: Path, tmp_path: Path) -> None:
    model, session = Noted(text), raw(text)
    model.buckets = tuple(replace(bucket, batch_rows=64) for bucket in model.buckets)
    random = np.random.default_rng(0)
    requests = [text_request(*random.integers(1, (4, LONGEST + 1)).tolist(), seed) for seed in range(60)]
    served = Served(model, tmp_path)
    model.runs.clear()
    answers = served.ask(requests)
    for request, answer in zip(requests, answers, strict=True):
        same(answer, session.run(None, request))
    lengths = [length for _, length in model.runs]
    assert sorted(lengths) == [8, 16, 24, 32, 40]
    own = sum(request["input_ids"].size for request in requests)
    run = sum(rows * length for rows, length in model.runs)
    assert served.counted("falaj_inference_tokens_total") == run
    assert served.counted("falaj_inference_padded_tokens_total") == run - own > 0

    def check_log() -> None:
        logged = read_log(tmp_path, "text").to_pylist()
        found = {(*row["input_ids"], *row["loudness"]): row for row in logged}
        assert len(logged) == sum(len(request["input_ids"]) for request in requests)
        for request, (probability, tags, tag) in zip(requests, answers, strict=True):
            for index, ids in enumerate(request["input_ids"].tolist()):
                loudness, pitch = request["signal"][index].T.tolist()
                row = found[*ids, *loudness]
                assert row["attention_mask"] == request["attention_mask"][index].tolist()
                assert row["pitch"] == pitch
                assert row["tag"] == tag[index].tolist()
                np.testing.assert_array_equal([row[f"tags_{place}"] for place in range(3)], tags[index].T)
                assert row["probability"] == probability[index]

    check_log()
    served.log.start()
    served.log.close(10)
    assert not list(tmp_path.glob("text/_journal/*"))
    check_log()


def test_without_a_mask_only_equal_lengths_run_together(sums: Path, tmp_path: Path) -> None:
    model, session = Noted(sums), raw(sums)
    model.buckets = tuple(replace(bucket, batch_rows=64) for bucket in model.buckets)
    served = Served(model, tmp_path)
    model.runs.clear()
    requests = [sums_request(1 + seed % 2, 1 + seed % 10, seed) for seed in range(30)]
    for request, answer in zip(requests, served.ask(requests), strict=True):
        same(answer, session.run(None, request))
    assert [length for _, length in model.runs] == list(range(1, 11))
    assert served.counted("falaj_inference_padded_tokens_total") == 0


def test_a_fault_in_one_sequence_does_not_hurt_its_neighbours(text: Path, tmp_path: Path) -> None:
    requests = [text_request(2, length, length) for length in (3, 5, 7)]
    requests[1]["input_ids"][1, 4] = 50
    first, second, third = Served(Noted(text), tmp_path).ask(requests)
    assert "input_ids in row 1, position 4 is outside 0..49" in second.reason
    for request, answer in ((requests[0], first), (requests[2], third)):
        same(answer, raw(text).run(None, request))


def test_a_stream_of_short_ones_does_not_starve_a_long_one(text: Path, tmp_path: Path) -> None:
    model = Noted(text)
    model.buckets = tuple(replace(bucket, batch_rows=4) for bucket in model.buckets)
    served = Served(model, tmp_path)
    model.runs.clear()

    async def run() -> None:
        stream: list[Asked] = []

        def ask_again() -> None:
            if not long.outcome.done() and len(stream) < 500:
                stream.append(Asked(model, text_request(1, 5, len(stream)), ask_again))
                served.batcher.submit(stream[-1])

        long = Asked(model, text_request(1, LONGEST, 0))
        before = [Asked(model, text_request(1, 5, seed), ask_again) for seed in range(8)]
        for job in (*before, long):
            job.started = time.perf_counter()
            served.batcher.submit(job)
        await long.outcome
        await asyncio.gather(*[job.outcome for job in (*before, *stream)])

    asyncio.run(run())
    assert [length for _, length in model.runs[:3]] == [8, 8, LONGEST]


def test_a_queue_is_as_long_as_its_sequences_take(text: Path, tmp_path: Path) -> None:
    model = Noted(text)
    model.buckets = tuple(replace(bucket, row_seconds=bucket.length / 100, batch_rows=64) for bucket in model.buckets)
    for length, admitted in ((LONGEST, 3), (8, 13)):
        outcomes = Served(model, tmp_path / str(length), max_queue_seconds=1).ask([text_request(1, length, 0)] * 20)
        refused = [outcome.status for outcome in outcomes if isinstance(outcome, RefusedError)]
        assert refused == [503] * (20 - admitted)


def test_no_run_is_larger_than_the_tokens_that_it_may_have(text: Path) -> None:
    model = Noted(text, max_batch_tokens=100)
    assert max(rows * length for rows, length in model.runs) <= 100
    assert all(bucket.batch_rows * bucket.length <= 100 for bucket in model.buckets)
    with pytest.raises(ServiceError, match="sequences of 40 tokens, a run 39: raise --max-batch-tokens"):
        Noted(text, max_batch_tokens=39)


def alter(change: Callable[[Any], object]) -> dict[str, Any]:
    described = text_spec()
    change(described)
    return described


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "nothing said": (lambda spec: spec.pop("sequences"), "max_length has to bound it"),
    "no such mask": (lambda spec: spec["sequences"].update(mask="x"), "x is no input"),
    "a mask of numbers": (lambda spec: spec["sequences"].update(mask="signal"), "signal is no input"),
    "no mask": (lambda spec: spec["sequences"].update(mask=None), "of no use without"),
    "no padding": (lambda spec: spec["inputs"][0].pop("padding"), "input_ids: padding is missing"),
    "padding unknown": (lambda spec: spec["inputs"][0].update(padding=50), "outside the range of input_ids"),
    "padding of the mask": (lambda spec: spec["inputs"][1].update(padding=1), "of a mask is 0"),
    "ids without a range": (lambda spec: spec["ranges"].pop("input_ids"), "input_ids has no min"),
    "columns": (lambda spec: spec["inputs"][2].update(columns=["x"]), "a last dimension of 1"),
    "another dimension": (lambda spec: spec["inputs"][2].update(shape=[-1, 2, -1]), "a sequence is FP32 or INT64"),
    "texts": (lambda spec: spec["inputs"][0].update(datatype="BYTES"), "a sequence is FP32 or INT64"),
    "looked up": (
        lambda spec: spec.update(features={"entity": "x", "view": "xx", "service": "xx", "pseudonymised": False}),
        "not looked up",
    ),
    "no sequence": (
        lambda spec: [tensor.update(shape=[-1, 8, *tensor["shape"][2:]]) for tensor in spec["inputs"]],
        "no input is of variable length",
    ),
    "wider than the graph": (
        lambda spec: spec["inputs"][2].update(shape=[-1, -1, 1], columns=["pitch"]),
        r"signal of model\.onnx has the shape \['rows', 'length', 2\]",
    ),
    "an output too long": (lambda spec: spec["outputs"][0].update(shape=[-1, -1]), "probability has shape"),
    "an output of fixed length": (lambda spec: spec["outputs"][2].update(shape=[-1, 8]), "tag has shape"),
    "longer than the graph": (lambda spec: spec["sequences"].update(max_length=41), "1 valid rows of length 41"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_spec_that_the_graph_contradicts_is_refused(text: Path, tmp_path: Path, name: str) -> None:
    change, reason = WRONG[name]
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "model.onnx").symlink_to(text / "model.onnx")
    (folder / "model.json").write_text(json.dumps(alter(change)))
    with pytest.raises(ServiceError, match=reason):
        Noted(folder)


def test_a_mask_that_hides_nothing_is_found_out(tmp_path: Path) -> None:
    Noted(export_sums(tmp_path / "0" / "sums", padding=0))
    with pytest.raises(ServiceError, match=r"total of model\.onnx depends on what its inputs hold where mask is 0"):
        Noted(export_sums(tmp_path / "1" / "sums", padding=1))


def test_one_engine_of_tensorrt_is_for_all_lengths() -> None:
    device = Device(provider="tensorrt", max_rows=1024, max_tokens=1000)
    options = _options("tensorrt", ModelSpec.model_validate(text_spec()), device)
    assert options["trt_profile_min_shapes"] == "input_ids:1x8,attention_mask:1x8,signal:1x8x2"
    assert options["trt_profile_opt_shapes"] == "input_ids:25x40,attention_mask:25x40,signal:25x40x2"
    assert options["trt_profile_max_shapes"] == "input_ids:125x40,attention_mask:125x40,signal:125x40x2"

"""The log holds exactly what was answered, whatever happens to the process or the disk."""

import errno
import http.client
import json
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry

from core.model_spec import ModelSpec
from serving.runtime import journal, log, log_parquet
from serving.runtime.log import InferenceLog, LogWriteError, read_log
from serving.runtime.log_parquet import convert
from serving.runtime.metrics import Metrics
from tests.serving.conftest import Runtime, expected, publish, running, spec, status, wait_for, wait_ready

BODY = json.dumps(
    {"inputs": [{"name": "features", "shape": [2, 3], "datatype": "FP32", "data": [40, 12, 5, 20, 5, None]}]}
).encode()


class Load:
    """Clients that send requests with ids of their own until told to stop, and note what became of each."""

    def __init__(self, port: int, clients: int = 8, body: bytes = BODY) -> None:
        self.port = port
        self.body = body
        self.sent: list[str] = []
        self.answered: dict[str, str] = {}
        """Id to version."""
        self.failed: list[int | str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.answered) < count:
            assert time.monotonic() < deadline, f"{len(self.answered)} answers, {self.failed[:5]}"
            time.sleep(0.005)

    def _run(self) -> None:
        connection = None
        while not self._stop.is_set():
            identity = str(uuid4())
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                    connection.connect()
                self.sent.append(identity)
                connection.request("POST", "/v2/models/jobs/infer", self.body, {"x-request-id": identity})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(type(error).__name__)
                connection = None
                time.sleep(0.01)
                continue
            if response.status == 200:
                self.answered[identity] = answer["model_version"]
            else:
                self.failed.append(response.status)
            if response.getheader("connection") == "close":
                connection = None
        if connection is not None:
            connection.close()


def ids_of(runtime: Runtime) -> Counter[str]:
    return Counter(read_log(runtime.log, "jobs")["inference_id"].to_pylist())


def check_complete(load: Load, logged: Counter[str]) -> None:
    """Each answered id has its two rows once; anything else in the log was sent, and its answer got lost."""
    assert load.answered
    assert {logged[identity] for identity in load.answered} == {2}
    assert set(logged) <= set(load.sent)
    assert set(logged.values()) == {2}


def test_what_is_in_the_log(served: Runtime) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.http_port)
    identity = str(uuid4())
    connection.request("POST", "/v2/models/jobs/infer", BODY, {"x-request-id": identity})
    connection.getresponse().read()
    connection.close()
    rows = read_log(served.log, "jobs").to_pandas()
    rows = rows[rows.inference_id == identity]
    assert list(rows.columns) == [
        *("time", "inference_id", "row", "model", "version"),
        *("AGEP", "SCHL", "WAGE"),
        *("probability", "label"),
    ]
    assert rows.row.tolist() == [0, 1]
    assert rows.version.tolist() == [2, 2]
    assert rows.AGEP.tolist() == [40, 20]
    assert np.isnan(rows.WAGE.iloc[1])
    np.testing.assert_allclose(rows.probability, expected([[40, 12, 5], [20, 5, 0]]), rtol=1e-5)
    assert str(rows.time.dtype) == "datetime64[us, UTC]"
    wait_for(lambda: identity in parquet_ids(served), served)


def parquet_ids(runtime: Runtime) -> set[str]:
    """What another program finds, that knows Parquet and nothing of the journal."""
    files = ds.dataset(runtime.log / "jobs", format="parquet", partitioning="hive")
    return set(files.to_table(columns=["inference_id"])["inference_id"].to_pylist()) if files.files else set()


def test_no_refused_request_is_in_the_log(served: Runtime) -> None:
    identity = str(uuid4())
    connection = http.client.HTTPConnection("127.0.0.1", served.http_port)
    connection.request("POST", "/v2/models/jobs/infer", BODY.replace(b"40", b"400"), {"x-request-id": identity})
    assert connection.getresponse().status == 400
    connection.close()
    assert identity not in ids_of(served)


def test_nothing_answered_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    flags = ("--log-rotate-seconds", "0.2")
    with running(tmp_path / "models", tmp_path / "log", *flags) as runtime, Load(runtime.http_port) as load:
        load.wait(500)
        runtime.stop(signal.SIGKILL)
    with running(tmp_path / "models", tmp_path / "log", *flags) as second:
        journals = tmp_path / "log" / "jobs" / log.JOURNAL
        wait_for(lambda: not list(journals.glob("*")), second)
        check_complete(load, ids_of(second))
        assert set(ids_of(second)) == parquet_ids(second)


def test_nothing_is_lost_when_the_process_is_drained(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    with running(tmp_path / "models", tmp_path / "log") as runtime, Load(runtime.http_port) as load:
        load.wait(300)
        runtime.process.send_signal(signal.SIGTERM)
        wait_for(lambda: status(f"{runtime.url}/v2/health/ready") == 503, runtime)
        assert runtime.process.wait(20) == 0
    # A connection that was not yet accepted when the listener closed is reset: its request was never seen.
    assert set(load.failed) <= {"ConnectionRefusedError", "ConnectionResetError"}
    check_complete(load, ids_of(runtime))
    assert set(ids_of(runtime)) == set(load.answered)
    assert not list((tmp_path / "log" / "jobs" / log.JOURNAL).glob("*"))


def test_a_full_disk_is_a_clean_503_and_heals(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    # A limit of the file size stands for the full disk: beyond it write() fails, as it does with ENOSPC.
    limit = 60_000

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    flags = ("--log-rotate-seconds", "300")
    with running(tmp_path / "models", tmp_path / "log", *flags, wait=False, limit=limit_files) as runtime:
        # The probe of a writable log is larger than the limit: not ready, yet alive.
        wait_for(lambda: status(f"{runtime.url}/v2/health/live") == 200, runtime, 40)
        wait_for(lambda: "cannot be written" in runtime.output.read_text(), runtime)
        with Load(runtime.http_port, clients=2) as load:
            wait_for(lambda: 503 in load.failed, runtime)
            assert status(f"{runtime.url}/v2/health/ready") == 503
            resource.prlimit(runtime.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            wait_ready(runtime)
            load.wait(len(load.answered) + 50)
        assert set(load.failed) == {503}
        assert runtime.stop() == 0
        check_complete(load, ids_of(runtime))
        assert set(load.answered) == set(ids_of(runtime))


@pytest.fixture
def opened(tmp_path: Path) -> tuple[InferenceLog, tuple[str, int], Path]:
    written = InferenceLog(tmp_path, Metrics(CollectorRegistry()), 1e9, 1 << 30)
    return written, written.register("jobs", 1, ModelSpec.model_validate(spec(text=True))), tmp_path


def add(written: InferenceLog, key: tuple[str, int], requests: int = 2) -> None:
    rows = [1, 3][:requests]
    count = sum(rows)
    texts = np.array([["north"], ["süd"], [""], ["south"]], object)[:count]
    inputs = (np.arange(count * 3, dtype=np.float32).reshape(count, 3), texts)
    outputs = (np.linspace(0, 1, count, dtype=np.float32), np.arange(count))
    written.append(key, b"".join(uuid4().bytes for _ in rows), rows, inputs, outputs)


Opened = tuple[InferenceLog, tuple[str, int], Path]


def test_every_cut_of_a_journal_keeps_the_whole_batches(opened: Opened) -> None:
    written, key, folder = opened
    sizes = []
    for _ in range(3):
        add(written, key)
        sizes.append(next(folder.glob("jobs/_journal/*")).stat().st_size)
    path = next(folder.glob("jobs/_journal/*"))
    data = path.read_bytes()
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        batches, torn = read(path)
        assert batches == sum(size <= cut for size in sizes)
        assert torn <= cut
        if batches:
            assert torn == cut - sizes[batches - 1]
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert read(path) == (2, sizes[2] - sizes[1])


def read(path: Path) -> tuple[int, int]:
    """How many batches a segment has, and how many bytes that are none."""
    with path.open("rb") as file:
        reader = journal.Reader(file)
        return len(list(reader)), reader.torn


def test_a_repeated_conversion_duplicates_nothing(opened: Opened) -> None:
    written, key, folder = opened
    add(written, key)
    path = next(folder.glob("jobs/_journal/*"))
    first = convert(path, folder)
    assert convert(path, folder) == first  # as after a crash before the segment's deletion
    assert len(list(folder.glob("jobs/date=*/*"))) == 1
    table = read_log(folder, "jobs")
    assert table.num_rows == pq.read_metadata(first[0]).num_rows == 4
    assert table["row"].to_pylist() == [0, 0, 1, 2]
    assert table["AREA"].to_pylist() == ["north", "süd", "", "south"]


def test_a_segment_over_midnight_and_of_many_row_groups_is_whole(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, key, folder = opened
    monkeypatch.setattr(log_parquet, "_GROUP_BYTES", 100)
    midnight = 20_000 * 86_400 * 10**9
    for second in (-2, -1, 0, 1, -1):  # the clock is put back once
        monkeypatch.setattr(time, "time_ns", lambda second=second: midnight + second * 10**9)
        add(written, key)
    path = next(folder.glob("jobs/_journal/*"))
    before = read_log(folder, "jobs")
    files = convert(path, folder)
    path.unlink()
    assert [pq.read_metadata(file).num_rows for file in files] == [12, 8]
    assert [file.split("/")[-2] for file in files] == ["date=2024-10-03", "date=2024-10-04"]
    assert pq.read_metadata(files[0]).num_row_groups == 3
    assert read_log(folder, "jobs").equals(before)


def test_leftovers_of_a_living_process_are_left_alone(opened: Opened) -> None:
    written, key, folder = opened
    add(written, key)
    path = next(folder.glob("jobs/_journal/*"))
    assert journal.Segment.take_over(path) is None
    written.start()
    written.close(10)
    assert not path.exists()
    assert read_log(folder, "jobs").num_rows == 4


def test_a_batch_that_the_disk_does_not_take_leaves_no_trace(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    written, key, folder = opened
    add(written, key)
    real: Callable[[int, bytes], int] = os.write

    def half(descriptor: int, data: bytes) -> int:
        real(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(LogWriteError, match="No space left"):
        add(written, key)
    assert "No space left" in str(written.failure)
    monkeypatch.undo()
    add(written, key, requests=1)
    assert read_log(folder, "jobs").num_rows == 5
    written.start()
    healed = written.failure
    assert healed is None
    written.close(10)


def test_columns_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    written = InferenceLog(tmp_path, Metrics(CollectorRegistry()), 1e9, 1 << 30)
    described = spec()
    described["inputs"][0]["columns"] = ["time", "label", "WAGE"]
    key = written.register("jobs", 1, ModelSpec.model_validate(described))
    written.append(key, uuid4().bytes, [1], (np.ones((1, 3), np.float32),), (np.zeros(1, np.float32), np.zeros(1, int)))
    table = read_log(tmp_path, "jobs")
    assert table.column_names[5:] == ["feature_time", "feature_label", "WAGE", "probability", "label"]


def test_an_empty_log_has_the_fixed_columns(tmp_path: Path) -> None:
    assert read_log(tmp_path, "jobs").column_names == ["time", "inference_id", "row", "model", "version"]

"""100,000 requests through the gateway while each service is killed once: nothing wrong, nothing lost, all logged."""

import asyncio
import json
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from core.contract import DataContract
from core.model_spec import MODEL_FILE
from serving.runtime.log import read_log
from tests.environment.load import Tally, drive
from tests.environment.local import Local

pytestmark = pytest.mark.timeout(1800)

REQUESTS = 100_000
CONCURRENCY = 32
BODIES = 500
BY_ID = 25
"""One body in so many names a person instead of features, and so goes through the feature server."""
VICTIMS = ("prometheus", "mlflow", "feature_server", "inference", "gateway")


def test_each_service_killed_once_under_load(local: Local, employment: DataContract) -> None:
    bodies, expected = _requests(local, employment)
    log_folder = local.home / "local" / "data" / "inference-log"
    before = set(read_log(log_folder, "employment")["inference_id"].to_pylist())
    progress = [0]
    killed: list[str] = []
    killer = threading.Thread(target=_kill_each, args=(local, progress, killed))
    killer.start()
    url = f"{local.url}/v2/models/employment/infer"
    tally = asyncio.run(drive(url, bodies, expected, REQUESTS, CONCURRENCY, progress))
    killer.join()

    assert tuple(killed) == VICTIMS
    assert tally.lost == 0
    assert not tally.wrong
    assert len(tally.answered) == REQUESTS
    # Each failure was a clean 5xx, or a connection that a killed gateway or runtime could not keep.
    assert all(kind.startswith(("HTTP 5", "Client", "Server", "Timeout")) for kind in tally.failures), tally.failures
    _wait_until_healthy(local)
    _compare_log(log_folder, before, tally)


def _compare_log(folder: Path, before: set[str], tally: Tally) -> None:
    """The log holds what was answered once, and beyond it only answers whose connection was killed on their way."""
    logged = [name for name in read_log(folder, "employment")["inference_id"].to_pylist() if name not in before]
    assert len(logged) == len(set(logged))
    assert tally.answered <= set(logged)
    undelivered = set(logged) - tally.answered
    assert undelivered <= tally.unanswered
    assert len(undelivered) <= len(VICTIMS) * CONCURRENCY


def _kill_each(local: Local, progress: list[int], killed: list[str]) -> None:
    for number, victim in enumerate(VICTIMS, start=1):
        while progress[0] < number * REQUESTS // (len(VICTIMS) + 1):
            time.sleep(0.05)
        for process in local.listening(victim):
            process.kill()
        killed.append(victim)


def _wait_until_healthy(local: Local) -> None:
    deadline = time.monotonic() + 60
    while (status := local.run("status", check=False)).returncode != 0:
        assert time.monotonic() < deadline, status.stdout
        time.sleep(1)


def _requests(local: Local, contract: DataContract) -> tuple[list[bytes], np.ndarray]:
    """Bodies for the newest people who consented, and the raw session's answer to each."""
    rows = pd.read_parquet(local.home / "data" / "employment" / "records.parquet")
    consent = pd.read_parquet(local.home / "data" / "employment" / "consent.parquet")
    refused = set(consent.loc[consent["status"] == "withdrawn", "subject"])
    granted = set(consent["subject"]) - refused
    rows = rows[rows["person_id"].isin(granted)].tail(BODIES)
    features = rows[list(contract.features)].astype(float).to_numpy(np.float32)
    repository = Path(local.environment.platform.model_repository) / "employment"
    live = json.loads((repository / "live.json").read_text())["live"]
    session = onnxruntime.InferenceSession(repository / str(live) / MODEL_FILE)
    expected = session.run(["probability"], {"features": features})[0]
    bodies = []
    for number, (person, values) in enumerate(zip(rows["person_id"], features, strict=True)):
        if number % BY_ID == 0:
            tensor = {"name": "person_id", "datatype": "BYTES", "shape": [1], "data": [person]}
        else:
            tensor = {"name": "features", "datatype": "FP32", "shape": [1, len(values)], "data": values.tolist()}
        bodies.append(json.dumps({"inputs": [tensor]}).encode())
    return bodies, expected

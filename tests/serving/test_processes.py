"""Several processes behind one port."""

import contextlib
import os
import re
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from serving import rollout
from serving.runtime.processes import cores
from tests.serving.conftest import Runtime, export, publish, running, wait_for
from tests.serving.test_log import Load, check_complete, ids_of

FLAGS = ("--processes", "2", "--follow-seconds", "0.2", "--log-rotate-seconds", "1")


def workers(runtime: Runtime) -> list[psutil.Process]:
    """The processes that answer; not Python's own, which tracks their resources, and none that has died."""
    found = []
    for child in psutil.Process(runtime.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in str(child.cmdline()):
                found.append(child)
    return found


def test_two_processes_answer_log_and_drain_as_one(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    with running(tmp_path / "models", tmp_path / "log", *FLAGS) as runtime:
        assert len(workers(runtime)) == 2
        with Load(runtime.http_port, clients=16) as load:
            load.wait(300)
            rollout.deploy(str(tmp_path / "models"), "jobs", 2, export(tmp_path / "two", bias=1.0), runtime.url)
            done = len(load.answered)
            wait_for(
                lambda: set(list(load.answered.values())[-50:]) == {"2"} and len(load.answered) > done + 100, runtime
            )

            def told(process: int) -> bool:
                text = httpx.get(f"{runtime.url}/metrics").text
                counted = re.search(rf'falaj_inference_requests_total{{[^}}]*process="{process}"', text)
                return bool(counted) and f'falaj_model_live_version{{model="jobs",process="{process}"}} 2.0' in text

            # One may answer all of the last requests while the other has yet to look at what is live.
            wait_for(lambda: told(0) and told(1), runtime)
            runtime.process.send_signal(signal.SIGTERM)
            assert runtime.process.wait(30) == 0
        assert set(load.failed) <= {"ConnectionRefusedError", "ConnectionResetError"}
        check_complete(load, ids_of(runtime))
        assert set(ids_of(runtime)) == set(load.answered)


def test_a_process_that_dies_is_started_again_and_its_log_recovered(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    with running(tmp_path / "models", tmp_path / "log", *FLAGS) as runtime:
        with Load(runtime.http_port, clients=8) as load:
            load.wait(200)
            workers(runtime)[0].kill()
            load.wait(len(load.answered) + 200)
        wait_for(lambda: len(workers(runtime)) == 2, runtime)
        assert "is started again" in runtime.output.read_text()
        check_complete(load, ids_of(runtime))
        assert runtime.stop() == 0
        check_complete(load, ids_of(runtime))


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    with running(tmp_path / "models", tmp_path / "log", *FLAGS) as runtime:
        left = workers(runtime)
        assert len(left) == 2
        runtime.process.kill()
        runtime.process.wait()
        assert psutil.wait_procs(left, timeout=30)[1] == []


def test_a_port_that_is_taken_is_said_once(tmp_path: Path) -> None:
    with (
        running(tmp_path / "models", tmp_path / "log") as first,
        running(tmp_path / "m", tmp_path / "l", *FLAGS, "--http-port", str(first.http_port), wait=False) as second,
    ):
        assert second.process.wait(30) == 2
        assert second.output.read_text().count("cannot be listened on") == 1


@pytest.mark.parametrize(
    ("text", "count"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("", None)]
)
def test_cores_are_those_of_the_cgroup(tmp_path: Path, text: str, count: int | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores(tmp_path / "cpu.max") == (count or len(os.sched_getaffinity(0)))
    assert cores(tmp_path / "absent") == len(os.sched_getaffinity(0))

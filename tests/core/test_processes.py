import os
import subprocess
import sys

import psutil

from core.processes import still_running


def test_one_that_runs_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert [each.pid for each in still_running([psutil.Process(process.pid)], 0.2)] == [process.pid]


def test_one_that_nobody_has_reaped_has_ended() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        process = psutil.Process(pid)
        assert not still_running([process], 10)
        assert process.status() == psutil.STATUS_ZOMBIE
    finally:
        os.waitpid(pid, 0)


def test_one_that_is_gone_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        child.communicate()
    assert not still_running([process], 0)

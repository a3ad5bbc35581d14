"""A rehearsal that is told to end."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.processes import still_running
from tools.build import BIN, ROOT

_PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])


@pytest.mark.skipif(
    any(shutil.which(name, path=_PATH) is None for name in ("pulumi", "kwok", "etcd", "kube-apiserver")),
    reason="no engine or no control plane on this machine: `python -m tools.build engine rehearsal`",
)
def test_its_servers_end_with_it(tmp_path: Path) -> None:
    command = [Path(sys.prefix) / "bin" / "falaj", "rehearse", "onprem", "--no-policies"]
    environment = os.environ | {"FALAJ_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        log = tmp_path / "rehearsal" / "onprem" / "kube-apiserver.log"
        try:
            while not log.exists():
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.1)
            below = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.terminate()
        process.communicate()
        assert process.returncode == 128 + 15
    assert len(below) >= 2
    assert not still_running(below, 10)

"""Runs the training pipeline in a process of its own and shows its progress."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from core.errors import FalajError
from core.platform import Environment
from core.telemetry import SILENT
from falaj import console
from falaj.environment import ROOT

_LINE = re.compile(r"\s*\S+ \S+ (?P<logger>falaj\S*) (?P<level>[A-Z]+) (?P<message>.*)")
_TAIL = 15
KEPT_RUNS = 5
"""Runs of one use case whose artifacts stay on this machine; what was registered is in MLflow."""


def run(running: Environment, folder: Path, contract: Path, data: Path, trials: int, seed: int) -> None:
    """Train, gate, register and deploy; every line of every step goes to `<folder>/run.log`.

    Raises:
        FalajError: A step failed; the message is the step's own, with the log's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "run.log"
    command = [sys.executable, "-m", "pipelines.local", "--root", str(folder), "--contract", str(contract)]
    command += ["--data", str(data), "--trials", str(trials), "--seed", str(seed)]
    environment = os.environ | running.platform.to_environment() | {"PYTHONUNBUFFERED": "1"} | SILENT
    started = time.monotonic()
    with (
        log.open("w", encoding="utf-8") as copy,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        errors, tail = [], deque[str](maxlen=_TAIL)
        for line in process.stdout:
            copy.write(line)
            tail.append(line.rstrip())
            if match := _LINE.match(line):
                if match["level"] == "ERROR":
                    errors.append(match["message"])
                else:
                    console.say(f"  [dim]{time.monotonic() - started:5.0f} s[/]  {console.escape(match['message'])}")
    if process.returncode != 0:
        reason = "\n".join(errors) if errors else "\n".join(tail)
        raise FalajError(f"the pipeline stopped, nothing was promoted:\n{reason}\nEvery line is in {log}")
    for old in sorted(folder.parent.iterdir())[:-KEPT_RUNS]:
        shutil.rmtree(old)

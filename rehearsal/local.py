"""The local stack from nothing to destroyed: for real, in a folder and on ports of its own."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from core.errors import FalajError
from core.processes import still_running
from rehearsal.engine import Engine
from rehearsal.inspection import inspect
from rehearsal.policies import Policies
from rehearsal.ports import free_ports
from rehearsal.steps import Steps, unrepaired

_FILE, _PROCESS = "pulumi-python:dynamic/local:ConfigFile", "pulumi-python:dynamic/local:Process"
_PORTS = ("port", "http_port", "grpc_port")
_STOP_SECONDS = 30


class LocalRehearsal:
    """Its steps; what a person does by hand here is to edit a file and to stop a service."""

    def __init__(self, settings: dict[str, Any], engine: Engine, steps: Steps, home: Path) -> None:
        """`settings` are the stack's, which steps change; below `home` runs what the engine starts."""
        self._settings, self._engine, self._steps = settings, engine, steps
        self._local = home / "local"

    def run(self, config: Mapping[str, Any], policies: Policies | None) -> None:
        """Go through all steps; `config` holds the settings.

        Raises:
            RehearsalError: One failed.
        """
        places = [(section, key) for section in self._settings.values() for key in _PORTS if key in section]
        for (section, key), port in zip(places, free_ports(len(places)), strict=True):
            section[key] = port
        self._engine.configure(config)
        with self._ended():
            outcome = self._steps.through("up from nothing", self._engine.up(pack=policies.pack if policies else None))
            self._steps.check(policies.differences(outcome) if policies else [])
            inspect(self._engine.environment, self._steps)
            self._steps.expect(self._steps.through("up again", self._engine.up(refresh=True)), {})
            self._change(config)
            self._repair()
            self._destroy()

    def _change(self, config: Mapping[str, Any]) -> None:
        """Have metrics read at another pace: Prometheus' file changes, and it alone starts anew."""
        self._settings["prometheus"]["scrape_seconds"] = 7
        self._engine.configure(config)
        outcome = self._steps.through("a setting changed", self._engine.up())
        # The engine tells a provider that is part of the program all settings.
        self._steps.expect(outcome, {"pulumi:providers:pulumi-python": 1, _FILE: 1, _PROCESS: 1})

    def _repair(self) -> None:
        """Edit a file and stop a service: a refresh finds that, and it is put right."""
        resources = self._engine.resources()
        file = next(each for each in resources if each["type"] == _FILE and each["urn"].endswith("/routes.json"))
        with Path(file["outputs"]["path"]).open("a") as content:
            content.write("\n")
        service = next(each for each in resources if each["type"] == _PROCESS and each["urn"].endswith("::mlflow"))
        self._stop(service["outputs"]["name"])
        outcome = self._steps.through("altered by hand", self._engine.up(refresh=True))
        self._steps.check(unrepaired([file["urn"], service["urn"]], outcome))

    def _stop(self, service: str) -> None:
        command: list[str | Path] = [
            Path(sys.prefix) / "bin" / "supervisorctl",
            "-c",
            self._local / "conf" / "supervisord.conf",
        ]
        done = subprocess.run([*command, "stop", service], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FalajError(f"{service} was not stopped: {done.stdout.strip()} {done.stderr.strip()}")

    def _destroy(self) -> None:
        """Destroy: no process and no file of configuration is left; data are kept, as ever."""
        held = self._engine.resources()
        running = self._processes()
        self._steps.through("destroy", self._engine.destroy())
        left = [f"process {each.pid} {' '.join(each.cmdline()[:3])}" for each in still_running(running, 0)]
        left += [each["outputs"]["path"] for each in held if each["type"] == _FILE]
        self._steps.check([f"{each} is left" for each in left if not each.startswith("/") or Path(each).exists()])
        self._steps.say(f"nothing is left of {len(held)} resources, but for data")

    def _processes(self) -> list[psutil.Process]:
        """The supervisor and all below it; none where it does not run."""
        try:
            supervisor = psutil.Process(int((self._local / "run" / "supervisord.pid").read_text()))
            return [supervisor, *supervisor.children(recursive=True)]
        except (OSError, psutil.NoSuchProcess):
            return []

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """End what still runs when a step failed: it would hold its ports. The supervisor ends its children."""
        try:
            yield
        finally:
            running = self._processes()
            for process in running[:1]:
                process.terminate()
            still_running(running, _STOP_SECONDS)

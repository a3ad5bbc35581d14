"""The real engine on the real program, with a state, settings and providers of the rehearsal's own."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from core.errors import FalajError
from rehearsal.notes import FOLDER
from tools.engine import engine_environment

AT_THE_END = "PULUMI_SKIP_CHECKPOINTS"
"""Of the engine's environment: it writes its state once, at its end."""
_PLUGINS = {
    "aws": "rehearsal.aws.provider",
    "kubernetes": "rehearsal.kubernetes.provider",
    "random": "rehearsal.random",
}
_CHANGES = ("create", "update", "delete", "replace")
_COLOUR = re.compile(r"<\{%[^%]*%\}>")
_REPORT_SECONDS = 5
_SHOWN = 500
"""Characters of the end of a log that an error has."""
_ENDED, _SAID, _JUDGED = b'"resOutputsEvent":', b'"diagnosticEvent":', b'"policyEvent":'


class EngineError(FalajError):
    """The engine failed where it should not."""


@dataclass(frozen=True, order=True)
class Finding:
    """What the policy pack said: a rule's ID, and its words on a resource or on the whole stack."""

    rule: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of the engine did.

    Attributes:
        done: URN → `create`, `update`, `delete` or `replace`; what stayed as it was is left out.
        same: How many resources stayed as they were.
        errors: What the engine and the providers said of failures.
        findings: Of the policy pack.
    """

    succeeded: bool
    seconds: float
    done: Mapping[str, str]
    same: int
    errors: list[str] = field(default_factory=list)
    findings: set[Finding] = field(default_factory=set)

    @property
    def counts(self) -> dict[str, int]:
        """How many resources were created, updated, and so on, and how many stayed as they were."""
        return dict(Counter(self.done.values())) | ({"same": self.same} if self.same else {})


class Engine:
    """A stack of the rehearsal's own, in a folder of its own, from the program as it lies in the repository."""

    def __init__(
        self, root: Path, stack: str, folder: Path, say: Callable[[str], None], environment: Mapping[str, str]
    ) -> None:
        """`say` is given a line of progress now and then; `environment` tells the engine's children where all is."""
        self._stack, self._say = stack, say
        self._project = folder / "project"
        self._logs = folder
        self._runs = 0
        self._process: subprocess.Popen[bytes] | None = None
        (self._project / "stacks").mkdir(parents=True)
        shutil.copyfile(root / "Pulumi.yaml", self._project / "Pulumi.yaml")
        # The engine writes into the folder of a project, and the repository's is not its to change here.
        (self._project / "__main__.py").symlink_to(root / "__main__.py")
        # The program names what is vendored by a path from the project.
        (self._project / "vendor").symlink_to(root / "vendor")
        plugins, state = folder / "bin", folder / "state"
        state.mkdir()
        engine = engine_environment(self._project)
        self.substitutes = _substitutes(plugins, root, engine["PATH"])
        self.environment = {
            **engine,
            **environment,
            "PATH": f"{plugins}{os.pathsep}{engine['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{state}",
            # The engine writes the whole state after each resource, which takes most of the time where definitions
            # of charts are in it; a rehearsal that is cut off begins anew.
            "PULUMI_EXPERIMENTAL": "true",
            AT_THE_END: "true",
            "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
            # Without it the engine writes no log of events.
            "PULUMI_DEBUG_COMMANDS": "true",
            FOLDER: str(folder),
        }

    def configure(self, config: Mapping[str, Any]) -> None:
        """Give the stack these settings, as a stack's file has them under `config`; the first time makes the stack."""
        file = self._project / "stacks" / f"Pulumi.{self._stack}.yaml"
        salt = {}
        if file.exists():
            salt = {"encryptionsalt": yaml.safe_load(file.read_text())["encryptionsalt"]}
        file.write_text(yaml.safe_dump({**salt, "config": dict(config)}, sort_keys=False))
        if not salt:
            self._command("stack", "init", self._stack)

    def up(self, *, refresh: bool = False, pack: Path | None = None) -> Outcome:
        """Bring everything up; with `refresh`, look first at how everything is; with `pack`, as its policies let."""
        looked = ["--refresh"] if refresh else []
        judged = ["--policy-pack", str(pack)] if pack else []
        return self._run("up", "--skip-preview", *looked, *judged)

    def destroy(self, *, preview: bool = False) -> Outcome:
        """Delete everything; with `preview`, look first whether that may be, as the engine does for a person."""
        return self._run("destroy", *([] if preview else ["--skip-preview"]))

    def kill(self) -> None:
        """Kill the engine that another thread runs, with all that it started, as when a machine loses its power."""
        if self._process is None:
            raise EngineError("no engine runs that could be killed")
        engine = psutil.Process(self._process.pid)
        for process in [engine, *engine.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def cancel(self) -> None:
        """Take away the lock of an engine that ended without doing so."""
        self._command("cancel", self._stack, "--yes")

    def forget(self) -> None:
        """Look at how everything is, and forget creations of which the state does not know how they ended."""
        self._command("refresh", "--stack", self._stack, "--yes", "--skip-preview", "--clear-pending-creates")

    def resources(self) -> list[dict[str, Any]]:
        """The state: each resource with `urn`, `type`, `id`, `inputs` and `outputs`."""
        return self._exported("resources")

    def pending(self) -> list[dict[str, Any]]:
        """What an engine began and did not end: each with `type`, such as `creating`, and `resource`."""
        return self._exported("pending_operations")

    def _exported(self, key: str) -> list[dict[str, Any]]:
        exported = json.loads(self._command("stack", "export", "--stack", self._stack))
        found: list[dict[str, Any]] = exported["deployment"].get(key, [])
        return found

    def _command(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self._project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise EngineError(f"`pulumi {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout

    def _run(self, *arguments: str) -> Outcome:
        self._runs += 1
        events = self._logs / f"{self._runs:02}-{arguments[0]}.jsonl"
        command = ["pulumi", *arguments, "--stack", self._stack, "--yes", "--non-interactive"]
        started = time.monotonic()
        with events.with_suffix(".log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--event-log", str(events)], cwd=self._project, env=self.environment, stdout=log, stderr=log
            )
            self._process = process
            stop = threading.Event()
            shown = threading.Thread(target=self._progress, args=(arguments[0], events, started, stop))
            shown.start()
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
            finally:
                self._process = None
                stop.set()
                shown.join()
        found = _outcome(events, code == 0, time.monotonic() - started)
        if code != 0 and not found.errors:
            said = events.with_suffix(".log").read_text().strip()
            found.errors.append(f"the engine ended with {code}: {said[-_SHOWN:]}")
        return found

    def _progress(self, what: str, events: Path, started: float, stop: threading.Event) -> None:
        ended = read = 0
        while not stop.wait(_REPORT_SECONDS):
            if events.exists():
                with events.open("rb") as file:
                    file.seek(read)
                    for line in file:
                        ended += _ENDED in line
                        read += len(line)
            self._say(f"  {what}: {ended} resources, {time.monotonic() - started:.0f} s")


def _substitutes(folder: Path, root: Path, path: str) -> list[str]:
    """Put providers of ours in a folder, for the packages that this machine has no real one of."""
    folder.mkdir()
    made: list[str] = []
    for package, module in _PLUGINS.items():
        name = f"pulumi-resource-{package}"
        # An API server without pods is more than the real provider of Kubernetes can wait for.
        if package != "kubernetes" and shutil.which(name, path=path) is not None:
            continue
        script = folder / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m {module}\n')
        script.chmod(0o755)
        made.append(package)
    return made


def _outcome(events: Path, succeeded: bool, seconds: float) -> Outcome:
    done: dict[str, str] = {}
    same: set[str] = set()
    errors: list[str] = []
    findings: set[Finding] = set()
    for line in events.read_bytes().splitlines() if events.exists() else []:
        # Events carry whole resources, so that most of the file need not be looked into.
        if not any(mark in line for mark in (_ENDED, _SAID, _JUDGED)):
            continue
        event = json.loads(line)
        if (ended := event.get("resOutputsEvent")) is not None:
            metadata = ended["metadata"]
            operation, urn = metadata["op"], metadata["urn"]
            simple = "replace" if "replace" in operation else operation
            if simple in _CHANGES:
                done[urn] = "replace" if done.get(urn) == "replace" else simple
            elif simple == "same":
                same.add(urn)
        elif (said := event.get("diagnosticEvent")) is not None and said.get("severity") == "error":
            urn = said.get("urn", "")
            errors.append(f"{urn.rpartition('$')[2] or urn}: {said['message'].strip()}".removeprefix(": "))
        elif (judged := event.get("policyEvent")) is not None:
            # Before its words on the resource, the engine says what the rule is about.
            found = Finding(judged["policyName"], _COLOUR.sub("", judged["message"]).strip().partition("\n")[2])
            findings.add(found)
            if judged["enforcementLevel"] == "mandatory":
                errors.append(f"{found.rule}: {found.text}")
    return Outcome(
        succeeded=succeeded,
        seconds=seconds,
        done=done,
        same=len(same - done.keys()),
        errors=errors,
        findings=findings,
    )

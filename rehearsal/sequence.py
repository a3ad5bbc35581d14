"""From nothing to destroyed, with what can be checked on the way."""

import copy
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError, FalajError
from rehearsal import leftovers, notes
from rehearsal.engine import Engine, Outcome
from rehearsal.servers import Servers, running
from rehearsal.tamper import tamper
from tools.build import ROOT

_KEY = "falaj:stack"
_NO_ACCOUNT = "123456789012"
"""Of moto where a stack has no account."""


class RehearsalError(FalajError):
    """A step of the rehearsal went otherwise than it must; the message says which and how."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A setting, by how much it is raised, and the types of resources that this updates, each exactly once."""

    path: tuple[str, ...]
    by: int
    updates: tuple[str, ...]


CHANGES = (
    _Change(
        path=("inference", "replicas", "maximum"), by=1, updates=("kubernetes:autoscaling/v2:HorizontalPodAutoscaler",)
    ),
    _Change(path=("governance", "budget", "monthly_usd"), by=100, updates=("aws:budgets/budget:Budget",)),
    _Change(
        path=("substrate", "stores", "postgresql", "max_storage_gib"), by=10, updates=("aws:rds/instance:Instance",)
    ),
)
"""What the third step changes, where a stack has it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: what the engine did, by kind of change, and for how long."""

    name: str
    seconds: float
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A rehearsal that went through.

    Attributes:
        substitutes: Packages for which providers of ours stood in.
        notes: What was checked less than the rest, by why.
    """

    stack: str
    stages: list[Stage] = field(default_factory=list)
    substitutes: list[str] = field(default_factory=list)
    notes: Mapping[str, list[str]] = field(default_factory=dict)


def rehearse(stack: str, home: Path, path: str, say: Callable[[str], None], root: Path = ROOT) -> Report:
    """Bring a stack up, again, changed, repaired and down, and see that nothing is left.

    Args:
        home: Folder that the rehearsal's state, data and logs are kept in until the next one.
        path: Where programs are looked for.
        say: Takes lines of progress.
        root: Folder of Pulumi.yaml, the program and the stacks' files.

    Raises:
        ConfigError: There is no such stack, or it is not of a kind that is rehearsed.
        RehearsalError: A step failed.
    """
    config = _config(stack, root)
    folder = home / stack
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    account = str(config[_KEY]["substrate"].get("account_id", _NO_ACCOUNT))
    say("starting moto, etcd, the API server and its controllers")
    with running(folder, account, path) as servers, closing(leftovers.Cluster(servers.kubeconfig)) as cluster:
        return _Rehearsal(stack, config, root, folder, servers, cluster, say).run()


class _Rehearsal:
    def __init__(
        self,
        stack: str,
        config: dict[str, Any],
        root: Path,
        folder: Path,
        servers: Servers,
        cluster: leftovers.Cluster,
        say: Callable[[str], None],
    ) -> None:
        self._stack, self._config, self._folder, self._say = stack, config, folder, say
        self._cluster = cluster
        self._servers = servers
        self._engine = Engine(root, stack, folder, servers, say)
        self._stages: list[Stage] = []

    def run(self) -> Report:
        self._engine.configure(self._config)
        self._stage("up from nothing", self._engine.up())
        self._expect(self._stage("up again", self._engine.up(refresh=True)), {})
        self._change()
        self._repair()
        self._destroy()
        return Report(
            stack=self._stack,
            stages=self._stages,
            substitutes=self._engine.substitutes,
            notes=notes.read(self._folder),
        )

    def _change(self) -> None:
        """Change settings: what depends on them changes, and nothing else."""
        expected: dict[str, int] = {}
        for change in CHANGES:
            section = self._section(change.path)
            elsewhere = change.updates[0].startswith("aws:") and self._config[_KEY]["substrate"]["kind"] != "aws"
            if section is not None and not elsewhere:
                section[change.path[-1]] += change.by
                expected |= dict.fromkeys(change.updates, 1)
        if not expected:
            raise ConfigError(
                f"the rehearsal has no setting of {self._stack} to change: add one to rehearsal/sequence.py"
            )
        self._engine.configure(self._config)
        self._expect(self._stage("a setting changed", self._engine.up()), expected)

    def _section(self, path: tuple[str, ...]) -> dict[str, Any] | None:
        section = self._config[_KEY]
        for part in path[:-1]:
            section = section.get(part) if isinstance(section, dict) else None
        return section if isinstance(section, dict) and path[-1] in section else None

    def _repair(self) -> None:
        """Alter and delete by hand: a refresh finds exactly that, and it is put right."""
        touched = tamper(self._engine.resources(), self._servers)
        outcome = self._stage("altered by hand", self._engine.up(refresh=True))
        wrong = [f"{urn} was altered by hand and not repaired" for urn in touched if urn not in outcome.done]
        wrong += [
            f"{urn}: {what}, and no one had altered it" for urn, what in outcome.done.items() if urn not in touched
        ]
        if wrong:
            raise RehearsalError(self._failure("altered by hand", wrong))

    def _destroy(self) -> None:
        """Destroy, which is refused first where the stack is protected; AWS and the cluster must be as before."""
        if self._config[_KEY].get("protect", False):
            outcome = self._engine.destroy()
            if outcome.succeeded:
                raise RehearsalError(f"{self._stack} says `protect: true`, and was destroyed all the same")
            self._stages.append(Stage(name="destroy, refused", seconds=outcome.seconds, counts=outcome.counts))
            self._config[_KEY]["protect"] = False
            self._engine.configure(self._config)
            self._stage("protect: false", self._engine.up())
        held = self._engine.resources()
        self._stage("destroy", self._engine.destroy())
        left = leftovers.cloud(held, self._engine.environment) + self._cluster.found()
        if left:
            raise RehearsalError(self._failure("nothing left", [f"{item} is left" for item in left]))
        self._say(f"nothing is left of {len(held)} resources")

    def _stage(self, name: str, outcome: Outcome) -> Outcome:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(outcome.counts.items()))
        self._say(f"{name}: {counts or 'nothing'} in {outcome.seconds:.0f} s")
        self._stages.append(Stage(name=name, seconds=outcome.seconds, counts=outcome.counts))
        if not outcome.succeeded:
            raise RehearsalError(self._failure(name, outcome.errors))
        return outcome

    def _expect(self, outcome: Outcome, updates: Mapping[str, int]) -> None:
        """Whether exactly so many resources of these types were updated, and nothing else done."""
        found: dict[str, int] = {}
        for urn, what in outcome.done.items():
            kind = urn.split("::")[2].rpartition("$")[2]
            key = kind if what == "update" else f"{what} of {urn}"
            found[key] = found.get(key, 0) + 1
        if found != dict(updates):
            wrong = [f"{key}: {count}" for key, count in found.items()] or ["nothing"]
            expected = [f"{key}: {count}" for key, count in updates.items()] or ["nothing"]
            name = self._stages[-1].name
            raise RehearsalError(
                self._failure(
                    name,
                    [
                        "to be updated was",
                        *(f"  {line}" for line in expected),
                        "and was",
                        *(f"  {line}" for line in wrong),
                    ],
                )
            )

    def _failure(self, name: str, lines: list[str]) -> str:
        shown = "\n".join(f"  {line}" for line in lines)
        return f"the rehearsal of {self._stack} failed at `{name}` (logs: {self._folder}):\n{shown}"


def _config(stack: str, root: Path) -> dict[str, Any]:
    file = root / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        known = sorted(found.name.split(".")[1] for found in file.parent.glob("Pulumi.*.yaml"))
        raise ConfigError(f"no stack {stack}: the stacks are {', '.join(known)}")
    config: dict[str, Any] = copy.deepcopy(yaml.safe_load(file.read_text())["config"])
    if config[_KEY]["substrate"]["kind"] == "local":
        raise ConfigError(f"{stack} runs on this machine for real: `make up`, and there is nothing to rehearse")
    return config

"""From nothing to destroyed, with what can be checked on the way."""

import copy
import fcntl
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError, FalajError
from rehearsal import leftovers, notes
from rehearsal.aws.provider import SEEN
from rehearsal.engine import Engine, Finding, Outcome
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
    """A setting, by how much it is raised, and the types of resources that this updates, each exactly once.

    Attributes:
        path: With `*` for the first of several.
    """

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
    _Change(path=("substrate", "nodes", "*", "limits", "cpu"), by=8, updates=("kubernetes:karpenter.sh/v1:NodePool",)),
)
"""What the step `a setting changed` changes, where a stack has it."""
_OWNER = "another-team"
_UNJUDGED = {"not asked": ["the policy pack, which has no environment: run `uv sync --project policies/pack`"]}


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


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The policy pack as the engine starts it, and what it must find: what the check without an engine does."""

    pack: Path
    findings: Collection[Finding]


def rehearse(
    stack: str,
    home: Path,
    path: str,
    say: Callable[[str], None],
    *,
    root: Path = ROOT,
    policies: Policies | None = None,
) -> Report:
    """Bring a stack up, again, changed, repaired and down, and see that nothing is left.

    Args:
        home: Folder that the rehearsal's state, data and logs are kept in until the next one.
        path: Where programs are looked for.
        say: Takes lines of progress.
        root: Folder of Pulumi.yaml, the program and the stacks' files.
        policies: Let the first step through; without them none are asked.

    Raises:
        ConfigError: There is no such stack, it is not of a kind that is rehearsed, or another rehearsal of it runs.
        RehearsalError: A step failed.
    """
    config = _config(stack, root)
    folder = home / stack
    with _alone(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        account = str(config[_KEY]["substrate"].get("account_id", _NO_ACCOUNT))
        say("starting moto, etcd, the API server and its controllers")
        with running(folder, account, path) as servers, closing(leftovers.Cluster(servers.kubeconfig)) as cluster:
            return _Rehearsal(stack, config, root, folder, servers, cluster, say, policies).run()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a rehearsal's folder, which a second one would empty."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another rehearsal runs in {folder}: wait for it, or name another folder in FALAJ_HOME"
            ) from None
        yield


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
        policies: Policies | None,
    ) -> None:
        self._policies = policies
        self._stack, self._config, self._folder, self._say = stack, config, folder, say
        self._cluster = cluster
        self._servers = servers
        self._engine = Engine(root, stack, folder, servers, say)
        self._stages: list[Stage] = []

    def run(self) -> Report:
        self._engine.configure(self._config)
        self._up()
        self._expect(self._stage("up again", self._engine.up()), {})
        protected = self._config[_KEY].get("protect", False)
        if protected:
            self._refuse()
        self._change()
        self._repair()
        self._hand_over(lift=protected)
        self._destroy()
        return Report(
            stack=self._stack,
            stages=self._stages,
            substitutes=self._engine.substitutes,
            notes=notes.read(self._folder) | ({} if self._policies else _UNJUDGED),
        )

    def _up(self) -> None:
        """Bring everything up, under the policies, which must find what they find without an engine."""
        outcome = self._stage("up from nothing", self._engine.up(pack=self._policies.pack if self._policies else None))
        if self._policies is None:
            return
        found, expected = outcome.findings, set(self._policies.findings)
        wrong = [f"the pack alone: {each.rule}: {each.text}" for each in sorted(found - expected)]
        wrong += [f"`falaj check` alone: {each.rule}: {each.text}" for each in sorted(expected - found)]
        if wrong:
            raise RehearsalError(self._failure("up from nothing", wrong))

    def _refuse(self) -> None:
        """A destroy must be refused for what is protected, before anything is deleted."""
        held = self._engine.resources()
        protected = {resource["urn"]: resource for resource in held if resource.get("protect", False)}
        outcome = self._engine.destroy(preview=True)
        self._stages.append(Stage(name="destroy, refused", seconds=outcome.seconds, counts={}))
        wrong = [error for error in outcome.errors if "is protected" not in error and error != "preview failed"]
        if outcome.succeeded:
            wrong.append(f"{self._stack} says `protect: true`, and was destroyed all the same")
        elif not any(urn in error for urn in protected for error in outcome.errors):
            wrong.append("no error names what is protected")
        known = set(leftovers.cloud(list(protected.values()), self._engine.environment))
        wrong += [f"{urn} is protected, and gone" for urn in leftovers.askable(protected.values()) if urn not in known]
        still = {resource["urn"] for resource in self._engine.resources()}
        wrong += [f"{resource['urn']} is no longer in the state" for resource in held if resource["urn"] not in still]
        if wrong:
            raise RehearsalError(self._failure("destroy, refused", wrong))
        self._say(f"destroy: refused, {len(protected)} resources are protected")

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
            if not isinstance(section, dict):
                return None
            section = section.get(next(iter(section)) if part == "*" else part)
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

    def _hand_over(self, *, lift: bool) -> None:
        """Change the owner, which is on everything, and lift the protection: updates alone, of all that has tags."""
        settings = self._config[_KEY]
        former = settings.get("governance", {}).get("owner")
        if former is not None:
            settings["governance"]["owner"] = _OWNER
        if lift:
            settings["protect"] = False
        self._engine.configure(self._config)
        outcome = self._stage("owner changed, protection lifted", self._engine.up())
        wrong = [f"{urn}: {what}" for urn, what in outcome.done.items() if what != "update"]
        wrong += [
            f"{resource['urn']} still has the tag of {former}"
            for resource in self._engine.resources()
            if former is not None and _is_owned(resource.get("outputs", {}), former)
        ]
        if wrong:
            raise RehearsalError(self._failure("owner changed, protection lifted", wrong))

    def _destroy(self) -> None:
        """Destroy; AWS and the cluster must be as before."""
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


def _is_owned(outputs: Mapping[str, Any], owner: str) -> bool:
    """Whether the tag `owner` is this, in the state or in what AWS says of the resource."""
    said = outputs.get(SEEN) or ""
    spelt = (f'"owner": "{owner}"', f'"Key": "owner", "Value": "{owner}"')
    return outputs.get("tagsAll", {}).get("owner") == owner or any(text in said for text in spelt)


def _config(stack: str, root: Path) -> dict[str, Any]:
    file = root / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        known = sorted(found.name.split(".")[1] for found in file.parent.glob("Pulumi.*.yaml"))
        raise ConfigError(f"no stack {stack}: the stacks are {', '.join(known)}")
    config: dict[str, Any] = copy.deepcopy(yaml.safe_load(file.read_text())["config"])
    if config[_KEY]["substrate"]["kind"] == "local":
        raise ConfigError(f"{stack} runs on this machine for real: `make up`, and there is nothing to rehearse")
    return config

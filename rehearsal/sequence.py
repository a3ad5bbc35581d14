"""From nothing to destroyed, with what can be checked on the way."""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError
from rehearsal import leftovers, notes
from rehearsal.aws.provider import SEEN
from rehearsal.aws.trust import retags
from rehearsal.engine import Engine
from rehearsal.inspection import declared, inspect
from rehearsal.kubernetes.scheduling import site_of
from rehearsal.local import LocalRehearsal
from rehearsal.policies import Policies
from rehearsal.servers import CONTEXT, Servers, running
from rehearsal.steps import Report, Steps, unrepaired
from rehearsal.tamper import tamper
from tools.build import ROOT

KEY = "falaj:stack"
NO_ACCOUNT = "123456789012"
"""Of moto where a stack has no account."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A setting, by how much it is raised, and the types of resources of which this updates exactly one.

    Attributes:
        path: With `*` for the first of several.
    """

    path: tuple[str, ...]
    by: int
    updates: tuple[str, ...]


CHANGES = (
    _Change(
        path=("inference", "replicas", "maximum"),
        by=1,
        updates=("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "kubernetes:keda.sh/v1alpha1:ScaledObject"),
    ),
    _Change(path=("governance", "budget", "monthly_usd"), by=100, updates=("aws:budgets/budget:Budget",)),
    _Change(
        path=("substrate", "stores", "postgresql", "max_storage_gib"), by=10, updates=("aws:rds/instance:Instance",)
    ),
    _Change(path=("substrate", "nodes", "*", "limits", "cpu"), by=8, updates=("kubernetes:karpenter.sh/v1:NodePool",)),
)
"""What the step `a setting changed` changes, where a stack has it."""
_OWNER = "another-team"
_OWNS = "falaj.ae/owner"
"""The label of namespaces for what is a tag in AWS."""
_CONTEXT = ("--context", CONTEXT)
"""The rehearsal's kubeconfig has one, whatever the stack calls its own."""
_UNJUDGED = {"not asked": ["the policy pack"]}


def rehearse(
    stack: str,
    home: Path,
    path: str,
    say: Callable[[str], None],
    *,
    root: Path = ROOT,
    policies: Policies | None = None,
    inspected: bool = True,
) -> Report:
    """Bring a stack up, again, changed, repaired and down, and see that nothing is left.

    Args:
        home: Folder that the rehearsal's state, data and logs are kept in until the next one.
        path: Where programs are looked for.
        say: Takes lines of progress.
        root: Folder of Pulumi.yaml, the program and the stacks' files.
        policies: Let the first step through; without them none are asked.
        inspected: Whether what came up is looked at from outside. What is no stack of this repository does not hold
            what one holds.

    Raises:
        ConfigError: There is no such stack, or another rehearsal of it runs.
        RehearsalError: A step failed.
    """
    config = config_of(stack, root)
    folder = home / stack
    with alone(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        steps = Steps(stack, folder, say)
        unjudged = {} if policies else _UNJUDGED
        if config[KEY]["substrate"]["kind"] == "local":
            engine = Engine(root, stack, folder, say, {"FALAJ_HOME": str(folder)})
            LocalRehearsal(config[KEY], engine, steps, folder).run(config, policies)
            return Report(stack=stack, stages=steps.done, notes=unjudged)
        account = str(config[KEY]["substrate"].get("account_id", NO_ACCOUNT))
        say("starting moto, etcd, the API server, its controllers and its scheduler")
        with (
            running(folder, account, path, site_of(config[KEY])) as servers,
            closing(leftovers.Cluster(servers.kubeconfig)) as cluster,
        ):
            engine = Engine(root, stack, folder, say, servers.environment)
            _Rehearsal(config, engine, steps, servers, cluster, policies).run(inspected=inspected)
            return Report(
                stack=stack,
                stages=steps.done,
                substitutes=engine.substitutes,
                notes=notes.read(folder) | unjudged,
            )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a rehearsal's folder, which a second one would empty.

    Raises:
        ConfigError: Another one holds it.
    """
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
        config: dict[str, Any],
        engine: Engine,
        steps: Steps,
        servers: Servers,
        cluster: leftovers.Cluster,
        policies: Policies | None,
    ) -> None:
        self._config, self._engine, self._steps = config, engine, steps
        self._servers, self._cluster, self._policies = servers, cluster, policies
        self._settings: dict[str, Any] = config[KEY]

    def run(self, *, inspected: bool) -> None:
        self._engine.configure(self._config)
        self._up()
        if inspected:
            inspect(self._engine.environment, self._steps, *declared(self._engine.resources(), self._steps), *_CONTEXT)
        self._steps.expect(self._steps.through("up again", self._engine.up()), {})
        protected = self._settings.get("protect", False)
        if protected:
            self._refuse()
        self._change()
        self._repair()
        self._hand_over(lift=protected)
        self._destroy()

    def _up(self) -> None:
        """Bring everything up, under the policies, which must find what they find without an engine."""
        pack = self._policies.pack if self._policies else None
        outcome = self._steps.through("up from nothing", self._engine.up(pack=pack))
        if self._policies is not None:
            self._steps.check(self._policies.differences(outcome))

    def _refuse(self) -> None:
        """A destroy must be refused for what is protected, before anything is deleted."""
        held = self._engine.resources()
        protected = {resource["urn"]: resource for resource in held if resource.get("protect", False)}
        outcome = self._engine.destroy(preview=True)
        self._steps.refused("destroy, refused", outcome.seconds)
        # Once it is refused the engine ends its providers, and says so of those that were still starting.
        expected = ("is protected", "preview failed", "exited prematurely")
        wrong = [error for error in outcome.errors if not any(text in error for text in expected)]
        if outcome.succeeded:
            wrong.append("the stack says `protect: true`, and was destroyed all the same")
        elif not any(urn in error for urn in protected for error in outcome.errors):
            wrong.append("no error names what is protected")
        known = set(leftovers.cloud(list(protected.values()), self._engine.environment))
        wrong += [f"{urn} is protected, and gone" for urn in leftovers.askable(protected.values()) if urn not in known]
        wrong += [f"{urn} is protected, and gone" for urn in self._cluster.missing(protected.values())]
        still = {resource["urn"] for resource in self._engine.resources()}
        wrong += [f"{resource['urn']} is no longer in the state" for resource in held if resource["urn"] not in still]
        self._steps.check(wrong)

    def _change(self) -> None:
        """Change settings: what depends on them changes, and nothing else."""
        made: list[_Change] = []
        for change in CHANGES:
            section = _section(self._settings, change.path)
            elsewhere = change.updates[0].startswith("aws:") and self._settings["substrate"]["kind"] != "aws"
            if section is not None and not elsewhere:
                section[change.path[-1]] += change.by
                made.append(change)
        if not made:
            raise ConfigError("the rehearsal has no setting of the stack to change: add one to rehearsal/sequence.py")
        self._engine.configure(self._config)
        outcome = self._steps.through("a setting changed", self._engine.up())
        done = {urn.split("::")[2].rpartition("$")[2] for urn in outcome.done}
        expected = [next((kind for kind in change.updates if kind in done), change.updates[0]) for change in made]
        self._steps.expect(outcome, dict.fromkeys(expected, 1))

    def _repair(self) -> None:
        """Alter and delete by hand: a refresh finds exactly that, and it is put right."""
        touched = tamper(self._engine.resources(), self._servers)
        outcome = self._steps.through("altered by hand", self._engine.up(refresh=True))
        self._steps.check(unrepaired(touched, outcome))

    def _hand_over(self, *, lift: bool) -> None:
        """Change the owner, which is on everything, and lift the protection: updates alone, of all that has tags."""
        former = self._settings.get("governance", {}).get("owner")
        if former is not None:
            self._settings["governance"]["owner"] = _OWNER
        if lift:
            self._settings["protect"] = False
        self._engine.configure(self._config)
        name = "owner changed, protection lifted" if lift else "owner changed"
        outcome = self._steps.through(name, self._engine.up())
        wrong = [f"{urn}: {what}" for urn, what in outcome.done.items() if what != "update"]
        if former is not None and not outcome.done:
            wrong.append("nothing says who owns it")
        wrong += [
            f"{resource['urn']} still says that {former} owns it"
            for resource in self._engine.resources()
            if former is not None and _is_owned(resource, former)
        ]
        self._steps.check(wrong)

    def _destroy(self) -> None:
        """Destroy; AWS and the cluster must be as before."""
        held = self._engine.resources()
        self._steps.through("destroy", self._engine.destroy())
        left = leftovers.cloud(leftovers.deletable(held), self._engine.environment) + self._cluster.found()
        self._steps.check([f"{item} is left" for item in left])
        self._steps.say(f"nothing is left of {len(held)} resources")


def _section(settings: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """The section of a stack's settings that a path ends in; None where the stack has not got it."""
    section: Any = settings
    for part in path[:-1]:
        if not isinstance(section, dict):
            return None
        section = section.get(next(iter(section)) if part == "*" else part)
    return section if isinstance(section, dict) and path[-1] in section else None


def _is_owned(resource: Mapping[str, Any], owner: str) -> bool:
    """Whether the tag or label `owner` is this, in the state or in what AWS says of the resource."""
    outputs = resource.get("outputs", {})
    said = (outputs.get(SEEN) or "") if retags(resource["type"]) else ""
    spelt = (f'"owner": "{owner}"', f'"Key": "owner", "Value": "{owner}"')
    labels = (outputs.get("metadata") or {}).get("labels") or {}
    marked = outputs.get("tagsAll", {}).get("owner") == owner or labels.get(_OWNS) == owner
    return marked or any(text in said for text in spelt)


def config_of(stack: str, root: Path) -> dict[str, Any]:
    """What a stack's file has under `config`; `KEY` is that of its settings.

    Raises:
        ConfigError: There is no such stack.
    """
    file = root / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        known = sorted(found.name.split(".")[1] for found in file.parent.glob("Pulumi.*.yaml"))
        raise ConfigError(f"no stack {stack}: the stacks are {', '.join(known)}")
    config: dict[str, Any] = yaml.safe_load(file.read_text())["config"]
    return config

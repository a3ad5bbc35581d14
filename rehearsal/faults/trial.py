"""A stack under faults: proxies between its providers and the servers, and the look at whether all is whole again."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from rehearsal import leftovers
from rehearsal.engine import AT_THE_END, Engine, EngineError, Outcome
from rehearsal.faults import aws, kubernetes, proxy, strays
from rehearsal.faults.proxy import Certificate, Proxy, Rule
from rehearsal.kubernetes.api import Api
from rehearsal.servers import KUBECONFIG, Servers
from rehearsal.steps import Steps

_KILLED = f"the engine ended with {-signal.SIGKILL}"
_ATTEMPTS = "25"
"""Of a call to AWS: `max_retries` of the real provider where nothing is set, with the SDK's own waits between them.

https://registry.terraform.io/providers/hashicorp/aws/latest/docs#max_retries
"""


class Trial:
    """One stack, its engine and what may be done to it.

    Attributes:
        config: As a stack's file has it under `config`; `settings` are those of ours in it.
        aws: Between the providers and moto.
        kubernetes: Between the providers and the API server.
        api: The API server itself.
        cluster: What was in it before.
        folder: Of logs.
        stack: Takes what must end with the trial.
    """

    def __init__(
        self,
        config: dict[str, Any],
        settings: dict[str, Any],
        engine: Engine,
        steps: Steps,
        proxies: tuple[Proxy, Proxy],
        api: Api,
        cluster: leftovers.Cluster,
        folder: Path,
        stack: ExitStack,
    ) -> None:
        self.config, self.settings, self.engine, self.steps = config, settings, engine, steps
        self.cluster, self.folder, self.stack = cluster, folder, stack
        self.aws, self.kubernetes = proxies
        self.api = api
        # A killed engine leaves behind what it wrote.
        del engine.environment[AT_THE_END]
        engine.environment["AWS_MAX_ATTEMPTS"] = _ATTEMPTS
        self.is_up = False
        engine.configure(config)

    @property
    def on_aws(self) -> bool:
        """Whether the stack has anything in AWS."""
        return bool(self.settings["substrate"]["kind"] == "aws")

    def up(self, name: str, *, refresh: bool = False) -> Outcome:
        """Bring the stack up, which must succeed."""
        with self._to_its_end():
            outcome = self.steps.through(name, self.engine.up(refresh=refresh))
        self.is_up = True
        return outcome

    @contextmanager
    def _to_its_end(self) -> Iterator[None]:
        """An engine that nothing happens to need not write its state after each resource."""
        self.engine.environment[AT_THE_END] = "true"
        try:
            yield
        finally:
            del self.engine.environment[AT_THE_END]

    def failing(self, name: str, parts: Mapping[str, Rule]) -> None:
        """Bring the stack up with some of its calls refused, which must fail, and say what and why.

        Args:
            parts: What an error must say of each rule, once that was met.
        """
        outcome = self.engine.up()
        self.steps.refused(name, outcome.seconds)
        wrong = [] if not outcome.succeeded else ["the engine succeeded"]
        wrong += [f"no call was met that {part!r} could be said of" for part, rule in parts.items() if not rule.met]
        said = "\n".join(outcome.errors)
        wrong += [f"no error says {part!r}" for part, rule in parts.items() if rule.met and part not in said]
        self.steps.check(wrong)

    def killed(self, name: str, when: threading.Event) -> bool:
        """Bring the stack up, and kill the engine at some point; False where it came up before."""

        def kill() -> None:
            when.wait()
            # One that ended by itself shows in its outcome.
            with suppress(EngineError):
                self.engine.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            outcome = self.engine.up()
        finally:
            when.set()
            killer.join()
        if any(_KILLED in error for error in outcome.errors):
            self.steps.refused(name, outcome.seconds)
            return True
        self.steps.through(name, outcome)
        self.is_up = True
        return False

    def resume(self) -> list[str]:
        """What a person does after an engine was killed, as docs/deploying.md says; what was begun and is deleted."""
        locked = self.engine.up()
        wrong = [] if any("currently locked" in error for error in locked.errors) else ["the state is not locked"]
        self.engine.cancel()
        pending = [each["resource"] for each in self.engine.pending() if each["type"] == "creating"]
        resources = self.engine.resources()
        begun = [each for each in pending if each["type"].startswith("aws:")]
        removed = strays.cloud(resources, self.engine.environment, begun) if begun else []
        strays.cluster(resources, self.api, pending)
        self.engine.forget()
        wrong += [f"{each['resource']['urn']} is {each['type']} still" for each in self.engine.pending()]
        self.steps.check(wrong)
        return removed

    def whole(self) -> None:
        """Each resource must be there exactly once, in the state, in AWS and in the cluster, and nothing besides."""
        self.aws.rules, self.kubernetes.rules = [], []
        resources = self.engine.resources()
        wrong = [f"{each['resource']['urn']} is {each['type']} still" for each in self.engine.pending()]
        made = [resource for resource in resources if resource["type"].startswith(("aws:", "kubernetes:"))]
        counted = Counter((resource["type"], resource["id"]) for resource in made if "id" in resource)
        wrong += [f"{' '.join(each)} is in the state {count} times" for each, count in counted.items() if count > 1]
        more, less = strays.cluster(resources, self.api)
        wrong += [f"{item} is in the cluster and not in the state" for item in more]
        wrong += [f"{item} is in the state and not in the cluster" for item in less]
        if self.on_aws:
            known = leftovers.cloud(resources, self.engine.environment)
            gone = set(leftovers.askable(resources)) - set(known)
            wrong += [f"{urn} is in the state and not in AWS" for urn in gone]
            found = strays.cloud(resources, self.engine.environment)
            wrong += [f"{item} is in AWS and not in the state" for item in found]
        self.steps.check(wrong)

    def down(self) -> None:
        """Destroy the stack, which must leave nothing."""
        held = self.engine.resources()
        with self._to_its_end():
            self.steps.through("destroy", self.engine.destroy())
        left = leftovers.cloud(leftovers.deletable(held), self.engine.environment) if self.on_aws else []
        self.steps.check([f"{item} is left" for item in [*left, *self.cluster.found()]])
        self.is_up = False


@contextmanager
def proxied(folder: Path, servers: Servers) -> Iterator[tuple[Servers, tuple[Proxy, Proxy]]]:
    """The servers as a stack in `folder` sees them, and the proxies in between: of moto, of the API server."""
    known = yaml.safe_load(servers.kubeconfig.read_text())
    cluster = known["clusters"][0]["cluster"]
    authority = Path(cluster["certificate-authority"])
    shown = Certificate(chain=authority, key=authority.with_suffix(".key"), authority=authority)
    with (
        proxy.running(servers.aws, aws.recognize) as before_aws,
        proxy.running(cluster["server"], kubernetes.recognize, shown) as before_kubernetes,
    ):
        cluster["server"] = before_kubernetes.address
        kubeconfig = folder / KUBECONFIG
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(yaml.safe_dump(known))
        yield Servers(aws=before_aws.address, kubeconfig=kubeconfig), (before_aws, before_kubernetes)

"""The last stage: what is broken is made by the rehearsal's own providers, on moto and on a real API server.

A resource is made as the engine would have it made: after all that it depends on, whose outputs stand where the plan
has symbols. The engine, the order and what only pods find out are not in this. It is caught where the broken one is
refused and the sound one, in the same place, is not.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jmespath

from infra.plan import SECRET, UNKNOWN
from rehearsal.aws import KINDS
from rehearsal.aws.provider import AwsProvider
from rehearsal.kubernetes.api import Api, UnknownKindError
from rehearsal.kubernetes.provider import KubernetesProvider
from rehearsal.notes import FOLDER
from rehearsal.protocol import Made, Provider, ProviderError
from rehearsal.servers import Servers, running
from tests.defects.model import World
from tests.policies.mutations.world import Clean, Document

_SYMBOL = re.compile(r"<(?P<inner>[^<>]+)>")
_QUOTA = "kubernetes:core/v1:ResourceQuota"
_BOUNDS = ("kubernetes:core/v1:LimitRange", _QUOTA)
_COUNTED_SECONDS = 60
_ACCOUNT = "444455556666"
"""Of prod, in which most is broken."""
_SECRET = "Rehearsed-Secret-1"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


class Rehearsed:
    """The servers, for all defects."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._cloud = AwsProvider()
        self._cloud.configure({"region": "me-central-1"})
        self._cluster = KubernetesProvider()
        self._api = Api(servers.kubeconfig)
        self._objects: dict[str, Made] = {}

    def close(self) -> None:
        """Close the connections."""
        self._cluster.close()
        self._api.close()

    def refusal(self, clean: Clean, world: World) -> str | None:
        """Why a broken resource is refused; None where none is."""
        sound = {one["urn"]: one for one in clean.plan.values()}
        for broken in world.changed():
            refused = None
            if broken["type"] in KINDS:
                refused = self._in_cloud(sound, broken)
            elif self._is_object(broken):
                refused = self._in_cluster(sound, broken)
            if refused is not None:
                return refused
        return None

    def objection(self, former: World, world: World) -> str | None:
        """What becomes of a resource that is there and changes: refused, or replaced; None where it is changed."""
        sound = {one["urn"]: one for one in former.plan()}
        for after in world.changed():
            before, made = sound[after["urn"]], dict[str, Made]()
            if after == before:
                continue
            if after["type"] in KINDS:
                provider: Provider = self._cloud
                made = self._account(sound, before)
            elif self._is_object(after):
                provider = self._cluster
                for needed in _needed(sound, before):
                    self._have(needed, before)
                if _place(before) in self._objects:
                    self._remove(before)
            else:
                continue
            there = _make(provider, before, made)
            said = _changed(provider, before, after, there, made)
            if provider is self._cluster:  # The account begins anew each time.
                provider.delete(before["type"], there.id, _filled(before["inputs"], made), there.outputs)
            if said is not None:
                return said
        return None

    def _in_cloud(self, sound: Mapping[str, Document], broken: Document) -> str | None:
        """In an account with what it depends on, and nothing else."""
        try:
            _make(self._cloud, broken, self._account(sound, broken))
        except ProviderError as error:
            if broken["urn"] in sound:
                _make(self._cloud, sound[broken["urn"]], self._account(sound, broken))
            return str(error)
        return None

    def _account(self, sound: Mapping[str, Document], broken: Document) -> dict[str, Made]:
        httpx.post(f"{self._servers.aws}/moto-api/reset").raise_for_status()
        made: dict[str, Made] = {}
        for one in _needed(sound, broken):
            if one["type"] in KINDS:
                made[_handle(one["urn"])] = _make(self._cloud, one, made)
        return made

    def _in_cluster(self, sound: Mapping[str, Document], broken: Document) -> str | None:
        """In a cluster with what it depends on, and the bounds of its namespace; a bound, with its pods."""
        whole = sound.get(broken["urn"])
        near = [one for one in sound.values() if _namespace(one) == _namespace(broken) and one is not whole]
        pods = [one for one in near if _has_pods(one)] if broken["type"] in _BOUNDS else []
        for one in [*near, broken if whole is None else whole]:
            if one["type"] in _BOUNDS or one in pods or one["urn"] == broken["urn"]:
                for needed in _needed(sound, one):
                    self._have(needed, broken)
            if one["type"] in _BOUNDS and one["urn"] != broken["urn"]:
                self._have(one, broken)
        if whole is not None and _place(whole) in self._objects:
            self._remove(whole)
        refused = self._tried(broken, pods)
        if refused is not None and whole is not None:
            again = self._tried(whole, pods)
            assert again is None, f"the sound one is refused too: {again}"
        return refused

    def _have(self, one: Document, broken: Document) -> None:
        """Make an object that is not there yet."""
        if self._is_object(one) and one["urn"] != broken["urn"] and _place(one) not in self._objects:
            self._objects[_place(one)] = _make(self._cluster, one, {})

    def _is_object(self, one: Document) -> bool:
        """Whether it is an object of a kind that the API server has by itself: no chart is installed here."""
        if not one["type"].startswith("kubernetes:") or "kind" not in one.get("inputs", {}):
            return False
        try:
            self._api.resource(_version(one["type"]), one["type"].rpartition(":")[2])
        except UnknownKindError:
            return False
        return True

    def _tried(self, one: Document, pods: Sequence[Document]) -> str | None:
        """Make an object, then its pods and those that it bounds, as their controllers would, and take all away."""
        try:
            self._objects[_place(one)] = _make(self._cluster, one, {})
        except ProviderError as error:
            return str(error)
        try:
            self._counted(one)
            for owner in [one, *pods]:
                if _has_pods(owner):
                    self._api.remove(self._api.create(_pod(owner)))
        except ProviderError as error:
            return str(error)
        finally:
            self._remove(one)
        return None

    def _counted(self, one: Document) -> None:
        """Wait until a quota counts: before, it refuses nothing, or everything."""
        last = time.monotonic() + _COUNTED_SECONDS
        while one["type"] == _QUOTA and not self._api.get(one["inputs"]).get("status", {}).get("hard"):
            assert time.monotonic() < last, "no controller looks at quotas"
            time.sleep(0.1)

    def _remove(self, one: Document) -> None:
        made = self._objects.pop(_place(one))
        self._cluster.delete(one["type"], made.id, _filled(one["inputs"], {}), made.outputs)


@contextmanager
def rehearsed(folder: Path, path: str) -> Iterator[Rehearsed]:
    """The last stage, with servers that end with the block. `path` is where their programs are looked for."""
    before = dict(os.environ)
    with running(folder, _ACCOUNT, path) as servers:
        os.environ |= servers.environment | {FOLDER: str(folder)}
        found = Rehearsed(servers)
        try:
            yield found
        finally:
            found.close()
            os.environ.clear()
            os.environ |= before


def _make(provider: Provider, one: Document, made: Mapping[str, Made]) -> Made:
    inputs = _filled(one["inputs"], made)
    wrong = provider.check(one["type"], inputs)
    if wrong:
        raise ProviderError("; ".join(wrong))
    return provider.create(one["type"], one["name"], inputs)


def _changed(
    provider: Provider, before: Document, after: Document, there: Made, made: Mapping[str, Made]
) -> str | None:
    kind, old, new = before["type"], _filled(before["inputs"], made), _filled(after["inputs"], made)
    replaced = provider.difference(kind, old, there.outputs, new).replaced
    if replaced:
        name = f"{kind.rpartition(':')[2]} {before['name']}"
        protected = before.get("options", {}).get("protect", False)
        then = "it is protected, and the engine refuses" if protected else "it goes before another one comes"
        return f"{name} is replaced for its {', '.join(sorted(replaced))}: {then}"
    try:
        provider.update(kind, there.id, old, there.outputs, new)
    except ProviderError as error:
        return str(error)
    return None


def _pod(owner: Document) -> Document:
    """A pod of a workload, without what only its node would know."""
    template = owner["inputs"]["spec"]["template"]
    metadata = {"name": "defect", "namespace": _namespace(owner), "labels": template["metadata"].get("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _filled(template["spec"], {})}


def _has_pods(one: Document) -> bool:
    return one["type"].startswith(("kubernetes:apps/", "kubernetes:batch/")) and "template" in one["inputs"]["spec"]


def _place(one: Document) -> str:
    """What an object is, whichever stack it is of."""
    return f"{one['type']} {_namespace(one)}/{one['inputs']['metadata'].get('name', one['name'])}"


def _needed(sound: Mapping[str, Document], one: Document) -> list[Document]:
    """What a resource depends on, and what that depends on, in an order in which it can be made."""
    found: dict[str, Document] = {}
    handles = {f"<{_handle(urn)}.": urn for urn in sound}

    def before(resource: Document) -> list[str]:
        said = json.dumps(resource.get("inputs", {}), ensure_ascii=False)
        named = [urn for handle, urn in handles.items() if handle in said] if "dependencies" not in resource else []
        return [*resource.get("dependencies", ()), *([resource["parent"]] if resource.get("parent") else []), *named]

    def add(urn: str) -> None:
        if urn in sound and urn not in found and urn != one["urn"]:
            for other in before(sound[urn]):
                add(other)
            found[urn] = sound[urn]

    for urn in before(one):
        add(urn)
    return list(found.values())


def _version(kind: str) -> str:
    """The API's version of a type: `kubernetes:core/v1:Service` is of v1."""
    return kind.split(":")[1].removeprefix("core/")


def _namespace(one: Document) -> str | None:
    found: str | None = one.get("inputs", {}).get("metadata", {}).get("namespace")
    return found


def _handle(urn: str) -> str:
    _, _, kinds, name = urn.split("::", 3)
    return f"{kinds.rpartition('$')[2]}::{name}"


def _filled(value: Any, made: Mapping[str, Made]) -> Any:
    """Inputs with outputs in the places of symbols; a secret and what no one knows yet become some value."""
    if isinstance(value, dict):
        return {key: _filled(item, made) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, made) for item in value]
    if value == UNKNOWN:
        return 1
    if not isinstance(value, str):
        return value
    return _SYMBOL.sub(lambda match: _output(match, made), value.replace(SECRET, _SECRET))


def _output(match: re.Match[str], made: Mapping[str, Made]) -> str:
    inner = match["inner"]
    for at in (at for at, letter in enumerate(inner) if letter == "."):
        found = made.get(inner[:at])
        if found is not None:
            path = inner[at + 1 :]
            value = found.id if path == "id" else jmespath.search(path, found.outputs)
            return match.group() if value is None else str(value)
    return match.group()

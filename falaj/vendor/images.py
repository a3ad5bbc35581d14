"""Every image that the stacks use: their charts and manifests rendered as they are installed, and our own objects.

Whatever a stack runs it takes from its own registry, under the name that the image has upstream. So an image is
any text that begins with that registry: in a container, or where an operator is told what to start, by an
argument, a variable, a ConfigMap or a custom resource. A container with another image is an error.
"""

import base64
import functools
import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from core.digest import ROOT
from core.images import LockedImage
from core.pins import Pins
from falaj.vendor.folders import VendorError, command

if TYPE_CHECKING:
    from infra.plan import Graph, Resource

_CHART = "kubernetes:helm.sh/v4:Chart"
_DIRECTORY = "kubernetes:kustomize/v2:Directory"
_ROOT = "<root>"
"""What stands for the repository's folder in a plan."""
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_NAME = rf"{_PART}(?:/{_PART})+"
_VERSION = r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True, order=True)
class Reference:
    """An image as something names it, without the stack's registry."""

    name: str
    tag: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Found:
    """What the stacks use.

    Attributes:
        users: Each image, and who names it, as `LockedImage.used_by` says it.
        outside: Images that would be pulled from elsewhere than the stack's registry, with who names them.
        untagged: Images that are named without a version, so that no one can say which runs.
    """

    users: Mapping[Reference, frozenset[str]]
    outside: frozenset[tuple[str, str]]
    untagged: frozenset[tuple[str, str]]


def find(graphs: Sequence["Graph"], vendor: Path, pins: Pins) -> Found:
    """Look through the plans of stacks, with charts and manifests as `vendor` holds them.

    Raises:
        VendorError: A chart of a plan is not vendored or cannot be rendered.
    """
    users: dict[Reference, set[str]] = defaultdict(set)
    outside: set[tuple[str, str]] = set()
    for pin in pins.images.values():
        users[Reference(pin.repository, pin.version)].add(f"images.{pin.name}")
    for graph in graphs:
        prefix = registry(graph, pins)
        for user, documents in _objects(graph, vendor, pins):
            for reference in _named(documents, prefix):
                users[reference].add(user)
            outside |= {(user, image) for image in _run(documents) if not image.startswith(f"{prefix}/")}
    versioned = {reference.name for reference in users if reference.tag or reference.digest}
    unversioned = [reference for reference in users if not reference.tag and not reference.digest]
    versionless = [(user, bare.name) for bare in unversioned if bare.name not in versioned for user in users[bare]]
    return Found(
        users={reference: frozenset(by) for reference, by in users.items() if reference not in unversioned},
        outside=frozenset(outside),
        untagged=frozenset(versionless),
    )


def locked(found: Found, known: Sequence[LockedImage]) -> tuple[LockedImage, ...]:
    """What the lock is to say: digests that it has, or that a user names, are kept."""
    digests = {(image.name, image.tag): image.digest for image in known}
    made = []
    for reference, by in sorted(found.users.items()):
        tag = reference.tag or None
        digest = reference.digest or digests.get((reference.name, tag))
        made.append(LockedImage(name=reference.name, tag=tag, digest=digest, used_by=tuple(sorted(by))))
    return tuple(made)


def registry(graph: "Graph", pins: Pins) -> str:
    """Host and path below which a stack's images lie: where it takes our own from.

    Raises:
        VendorError: The stack runs none of our images.
    """
    own = "|".join(re.escape(pins.image(name).repository) for name in ("platform", "platform-gpu"))
    pattern = re.compile(rf"(?P<registry>[a-z0-9.-]+(?::[0-9]+)?(?:/{_PART})*)/(?:{own})[:@]")
    for resource in graph.resources:
        for text in texts(resource.inputs):
            if found := pattern.match(text):
                return found["registry"]
    raise VendorError(f"stack {graph.stack} runs no image of ours, so that its registry is not known: see `falaj plan`")


def texts(value: Any) -> Iterator[str]:
    """Each text in plain data, keys left out; an image whose parts are apart is put together."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        name = value.get("repository", value.get("name"))
        if isinstance(name, str) and isinstance(value.get("tag"), str | int | float):
            yield f"{name}:{value['tag']}"
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


def _objects(graph: "Graph", vendor: Path, pins: Pins) -> Iterator[tuple[str, Sequence[Any]]]:
    """Who names images, and the objects that do."""
    own = []
    for resource in graph.resources:
        if resource.type == _CHART:
            name = str(resource.inputs["chart"]).rpartition("/")[2]
            yield f"charts.{name}", _chart(name, resource, vendor, pins)
        elif resource.type == _DIRECTORY:
            used, documents = _directory(
                Path(str(resource.inputs["directory"]).replace(_ROOT, str(ROOT))), vendor, pins
            )
            yield from ((f"manifests.{name}", documents) for name in used)
        elif resource.custom and resource.type.startswith("kubernetes:"):
            own.append(resource.inputs)
    yield f"stacks.{graph.stack}", own


def _chart(name: str, resource: "Resource", vendor: Path, pins: Pins) -> Sequence[Any]:
    folder = vendor / "charts" / name
    if not folder.is_dir():
        raise VendorError(f"chart {name} is not in {vendor.name}/charts: run `falaj vendor` without --lock-only")
    inputs = resource.inputs
    return _rendered(
        folder,
        str(inputs.get("name", resource.name)),
        str(inputs["namespace"]),
        json.dumps(inputs.get("values", {}), sort_keys=True),
        bool(inputs.get("includeHooks")),
        pins.versions.kubernetes,
    )


def _directory(folder: Path, vendor: Path, pins: Pins) -> tuple[set[str], Sequence[Any]]:
    """The pins that a kustomization of ours stands on, and its objects, from what is vendored.

    The stack may name the manifests at their publisher's address, or in `vendor` by a path from `folder`.
    """
    used = set()

    def vendored(entry: str) -> str:
        for pin in pins.manifests.values():
            address = f"{pin.repository}//{pin.path}"
            place = (vendor / "manifests" / pin.name).resolve()
            if entry.startswith(address):
                used.add(pin.name)
                return str(place) + entry.removeprefix(address).partition("?")[0]
            if (folder / entry).resolve().is_relative_to(place):
                used.add(pin.name)
        return str((folder / entry).resolve())

    try:
        document = yaml.safe_load((folder / "kustomization.yaml").read_bytes())
        resources = [vendored(entry) for entry in document["resources"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise VendorError(f"{folder} has no kustomization that can be read ({error}): run `falaj plan`") from error
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        paths = [os.path.relpath(place, Path(beside).resolve()) for place in resources]
        (Path(beside) / "kustomization.yaml").write_text(yaml.safe_dump({**document, "resources": paths}, width=1000))
        return used, _documents(command(["kustomize", "build", beside]), folder.name)


@functools.lru_cache(maxsize=256)
def _rendered(folder: Path, release: str, namespace: str, values: str, hooks: bool, kubernetes: str) -> Sequence[Any]:
    """Objects of a chart; several stacks may install it alike."""
    arguments = ["helm", "template", release, str(folder), "--namespace", namespace, "--values", "-"]
    arguments += ["--kube-version", f"{kubernetes}.0", "--skip-tests", *([] if hooks else ["--no-hooks"])]
    return _documents(command(arguments, stdin=values), folder.name)


def _documents(text: str, what: str) -> Sequence[Any]:
    try:
        documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        raise VendorError(f"what {what} renders to is not YAML: {error}") from error
    objects = [document for document in documents if document and document.get("kind") != "CustomResourceDefinition"]
    return [_opened(document) if document.get("kind") == "Secret" else document for document in objects]


def _opened(secret: Mapping[str, Any]) -> Any:
    """A Secret of a chart with its data in clear: some charts keep the settings of their program in one."""
    data = {}
    for key, value in (secret.get("data") or {}).items():
        text = base64.b64decode(value).decode(errors="replace")
        data[key] = yaml.load(text, Loader=yaml.CSafeLoader) if key.endswith((".yaml", ".yml", ".json")) else text
    return {**secret, "data": data}


def _named(documents: Sequence[Any], prefix: str) -> Iterator[Reference]:
    pattern = re.compile(rf"(?<![A-Za-z0-9._/-]){re.escape(prefix)}/(?P<name>{_NAME}){_VERSION}")
    for text in texts(documents):
        for found in pattern.finditer(text):
            yield Reference(found["name"], found["tag"] or "", found["digest"] or "")


def _run(value: Any) -> Iterator[str]:
    """The image of each container in plain data."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _CONTAINERS and isinstance(item, list):
                yield from (str(container["image"]) for container in item if container.get("image"))
            yield from _run(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _run(item)

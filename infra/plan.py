"""The graph of a stack without an engine, an account or a network.

`record` runs the Pulumi program in this process against a resource monitor that keeps every
registration. A property that only the provider would know becomes a symbol such as
`<aws:kms/key:Key::raw.arn>`, so that a policy document still shows what it refers to. What the
SDK's own mocks forgive is refused: see `faults`.
"""

import asyncio
import contextvars
import functools
import gc
import json
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pulumi
import yaml
from google.protobuf import empty_pb2, struct_pb2
from pulumi import _types
from pulumi.runtime import resource as registration
from pulumi.runtime import rpc, settings
from pulumi.runtime import stack as runtime
from pulumi.runtime.config import set_all_config
from pulumi.runtime.proto import resource_pb2, source_pb2

from core.errors import ConfigError, PlanError

T = TypeVar("T")
PROJECT = "falaj"
SECRET = "[secret]"  # noqa: S105
UNKNOWN = "[unknown]"
_STACK_TYPE = "pulumi:pulumi:Stack"
_DYNAMIC = "pulumi-python"
_OWN_PACKAGES = ("pulumi", _DYNAMIC)
"""Packages that the engine serves itself: they have no region, account or cluster."""
_SECRET_LENGTH = 8
"""A shorter secret is looked for as a whole value alone: it may be part of anything."""
_FEATURES = [
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    resource_pb2.RESOURCE_MONITOR_FEATURE_PARAMETERIZATION,
]
_DEPTH = 3
"""How deep symbols are made in a property that only the provider knows."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One registration.

    Attributes:
        parent: URN; None for the stack itself.
        provider: URN of the explicit provider.
        inputs: By the provider's names; secrets are `[secret]`, what no one knows yet is `[unknown]`.
        options: Only those that were set: `protect`, `retain_on_delete`, `depends_on`…
        dependencies: URNs of all that must be there before, sorted.
        property_dependencies: The same by the input that refers to them.
        outputs: What a component registered; empty for others.
    """

    urn: str
    type: str
    name: str
    custom: bool
    parent: str | None
    provider: str | None
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    dependencies: tuple[str, ...]
    property_dependencies: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The resource as JSON holds it; what is empty is left out."""
        always = {"urn": self.urn, "type": self.type, "name": self.name, "custom": self.custom}
        rest = {
            "parent": self.parent,
            "provider": self.provider,
            "inputs": self.inputs,
            "options": self.options,
            "dependencies": list(self.dependencies),
            "property_dependencies": {key: list(urns) for key, urns in self.property_dependencies.items()},
            "outputs": self.outputs,
        }
        return always | {key: value for key, value in rest.items() if value}


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All resources of a stack, sorted by URN, and the stack's outputs."""

    stack: str
    resources: tuple[Resource, ...]
    outputs: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """The graph as plain data: `{"stack", "outputs", "resources": [{"urn", "type", "name", …}]}`."""
        return {
            "stack": self.stack,
            "outputs": self.outputs,
            "resources": [resource.document() for resource in self.resources],
        }

    def to_json(self) -> str:
        """The document as text; equal graphs give equal bytes."""
        return json.dumps(self.document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def children(self) -> dict[str | None, list[Resource]]:
        """Resources by the URN of their parent."""
        found: dict[str | None, list[Resource]] = {}
        for resource in self.resources:
            found.setdefault(resource.parent, []).append(resource)
        return found

    def counts(self) -> Counter[str]:
        """How many resources there are of each type, components and the stack left out."""
        return Counter(resource.type for resource in self.resources if resource.custom)


def read_stack(root: Path, stack: str) -> dict[str, Any]:
    """The `config` of a stack's file.

    Raises:
        ConfigError: There is no such file, or it is not YAML.
    """
    file = root / "stacks" / f"Pulumi.{stack}.yaml"
    try:
        document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"no stack {stack}: the stacks are {', '.join(stacks(root))}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"stacks/{file.name} is not YAML: {error}") from error
    found = document.get("config") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise ConfigError(f"stacks/{file.name} has no config: see stacks/Pulumi.local.yaml for an example")
    return found


def stacks(root: Path) -> list[str]:
    """Names of the stacks that have a file."""
    return sorted(file.name.split(".")[1] for file in (root / "stacks").glob("Pulumi.*.yaml"))


def record(
    stack: str,
    config: Mapping[str, Any],
    program: Callable[[], None],
    symbols: Mapping[str, str] | None = None,
    *,
    twice: bool = True,
) -> Graph:
    """Run `program` as the engine would, and keep what it registers.

    Args:
        config: What the stack's file holds under `config`. An encrypted value stays unknown.
        symbols: Text that depends on this machine, and what stands for it in the graph.
        twice: Whether to run it again and refuse a program that registers something else then.

    Raises:
        PlanError: The graph has faults, or the two runs differ.
    """
    with _no_collection(), _no_traces():
        first, found = _run(stack, config, program, symbols or {})
        if found:
            raise PlanError(f"the plan of {stack} has faults:\n" + "\n".join(f"  {fault}" for fault in found))
        if not twice:
            return first
        second, _ = _run(stack, config, program, symbols or {})
    if first != second:
        raise PlanError(f"the program of {stack} differs from run to run: {_difference(first, second)}")
    return first


@contextmanager
def _no_collection() -> Iterator[None]:
    """Leave the garbage where it is: the SDK's many futures make the collector take most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _no_traces() -> Iterator[None]:
    """Spare the SDK the line of the program behind each registration: the recorder would not keep it."""
    kept = registration._get_stack_trace
    registration._get_stack_trace = source_pb2.StackTrace
    try:
        yield
    finally:
        registration._get_stack_trace = kept


def _run(
    stack: str, config: Mapping[str, Any], program: Callable[[], None], symbols: Mapping[str, str]
) -> tuple[Graph, list[str]]:
    plain = {key: value for key, value in config.items() if not _is_encrypted(value)}
    encrypted = {key: f"[secret {key}]" for key in config if key not in plain}
    recorder = _Recorder(stack, set(encrypted.values()))

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(_Inline())
        settings.reset_options()
        options = settings.Settings(
            project=PROJECT,
            stack=stack,
            monitor=recorder,
            engine=None,
            dry_run=True,
            organization="plan",
        )
        options.monitor_features = set(_FEATURES)
        settings.configure(options)
        values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}
        set_all_config(values | encrypted, list(encrypted))
        root = runtime.Stack()
        # An error leaves at once: the SDK's own runner would first wait for outputs that nothing resolves any more.
        program()
        root._finish()
        await _settled()
        await runtime.wait_for_rpcs()

    # The SDK keeps what it knows of a run in context variables: a context of its own leaves the caller's alone.
    contextvars.copy_context().run(asyncio.run, main())
    return recorder.graph(symbols), recorder.faults()


async def _settled() -> None:
    """Wait for all that the program began, or for the first of it that fails; what failed, the SDK then raises.

    The SDK's own waiting looks at every outstanding output again whenever one is there.
    """
    own = asyncio.current_task()
    while pending := asyncio.all_tasks() - {own}:
        done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        if any(task.cancelled() or task.exception() is not None for task in done):
            return


def _is_encrypted(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


class _Inline(ThreadPoolExecutor):
    """Runs what the SDK hands to threads at once, in its own.

    Nothing here waits for a network, and the SDK's lazily imported modules are not made for several threads.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class _Recorder:
    """The engine's resource monitor as the SDK calls it."""

    def __init__(self, stack: str, secrets: set[str]) -> None:
        self._stack = stack
        self._secrets = secrets
        self._resources: list[Resource] = []
        self._outputs: dict[str, dict[str, Any]] = {}

    def RegisterPackage(self, request: Any) -> resource_pb2.RegisterPackageResponse:  # noqa: N802
        return resource_pb2.RegisterPackageResponse(ref=f"{request.name}@{request.version}")

    def RegisterResource(self, request: Any) -> resource_pb2.RegisterResourceResponse:  # noqa: N802
        urn = self._urn(request)
        given = _decode(request.object)
        references = {key: tuple(sorted(value.urns)) for key, value in request.propertyDependencies.items()}
        self._resources.append(
            Resource(
                urn=urn,
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent or None,
                provider=_without_id(request.provider) or None,
                inputs={key: self._plain(value) for key, value in given.items() if key != "__provider"},
                options=_options(request, {urn for urns in references.values() for urn in urns}),
                dependencies=tuple(sorted(set(request.dependencies))),
                property_dependencies={key: urns for key, urns in references.items() if urns},
            )
        )
        if not request.custom:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        handle = f"{request.type}::{request.name}"
        outputs = given | {key: value for key, value in _symbols(request.type, handle).items() if key not in given}
        for key in request.additionalSecretOutputs:
            if key in outputs and not _is_secret(outputs[key]):
                outputs[key] = {rpc._special_sig_key: rpc._special_secret_sig, "value": outputs[key]}
        response = resource_pb2.RegisterResourceResponse(urn=urn, id=f"<{handle}.id>")
        response.object.update(outputs)
        return response

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:  # noqa: N802
        given = _decode(request.outputs)
        self._outputs[request.urn] = {key: self._plain(value) for key, value in given.items()}
        return empty_pb2.Empty()

    def Invoke(self, request: Any) -> NoReturn:  # noqa: N802
        raise _no_account(request.tok)

    def Call(self, request: Any) -> NoReturn:  # noqa: N802
        raise _no_account(request.tok)

    def ReadResource(self, request: Any) -> NoReturn:  # noqa: N802
        raise _no_account(f"{request.type}.get({request.name!r})")

    def graph(self, symbols: Mapping[str, str]) -> Graph:
        """What was registered."""
        order = sorted(symbols, key=len, reverse=True)

        def shown(value: Any) -> Any:
            if isinstance(value, str):
                for text in order:
                    value = value.replace(text, symbols[text])
                return value
            if isinstance(value, dict):
                return {key: shown(item) for key, item in value.items()}
            return [shown(item) for item in value] if isinstance(value, list) else value

        resources: list[Resource] = []
        outputs: dict[str, Any] = {}
        for resource in sorted(self._resources, key=lambda resource: resource.urn):
            registered = shown(self._outputs.get(resource.urn, {}))
            if resource.type == _STACK_TYPE:
                outputs = registered
            kept = {} if resource.type == _STACK_TYPE else registered
            resources.append(replace(resource, inputs=shown(resource.inputs), outputs=kept))
        return Graph(stack=self._stack, resources=tuple(resources), outputs=outputs)

    def faults(self) -> list[str]:
        """What the engine would refuse or do where it should not, sorted."""
        known = {resource.urn: resource for resource in self._resources}
        found: list[str] = []
        for (kind, name), count in Counter((resource.type, resource.name) for resource in self._resources).items():
            if count > 1:
                found.append(f"{kind} {name} is declared {count} times: give each a name of its own")
        for resource in self._resources:
            found += self._faults(resource, known)
        return sorted(found)

    def _faults(self, resource: Resource, known: Mapping[str, Resource]) -> Iterator[str]:
        here = f"{resource.type} {resource.name}"
        above = known.get(resource.parent or "")
        if resource.custom and (above is None or above.type == _STACK_TYPE):
            yield f"{here} has no parent: pass ResourceOptions(parent=…) with the component that it belongs to"
        package = resource.type.partition(":")[0]
        needs_provider = (resource.custom or resource.options.get("remote")) and package not in _OWN_PACKAGES
        if needs_provider and resource.provider is None:
            yield f"{here} would use a default provider of {package}: pass one, or parent it to what has one"
        named = [resource.parent, resource.provider, *resource.dependencies, resource.options.get("deleted_with")]
        named += [*resource.options.get("replace_with", []), *resource.options.get("depends_on", [])]
        for urn in sorted({urn for urn in named if urn is not None and urn not in known}):
            yield f"{here} refers to {urn}, which is not in the stack"
        for place, value in _leaves({"inputs": resource.inputs, "outputs": self._outputs.get(resource.urn, {})}):
            if self._tells(value):
                yield f"{here} shows a secret in clear at {place}: keep it an Output, and what is made of it"

    def _tells(self, value: str) -> bool:
        return any(secret == value or (len(secret) >= _SECRET_LENGTH and secret in value) for secret in self._secrets)

    def _urn(self, request: Any) -> str:
        kind = request.type
        if request.parent:
            above = request.parent.split("::")[2]
            kind = kind if above == _STACK_TYPE else f"{above}${kind}"
        return f"urn:pulumi:{self._stack}::{PROJECT}::{kind}::{request.name}"

    def _plain(self, value: Any) -> Any:
        if isinstance(value, dict):
            signature = value.get(rpc._special_sig_key)
            if signature == rpc._special_secret_sig:
                self._secrets.update(text for _, text in _leaves(value["value"]) if text and text != rpc.UNKNOWN)
                return SECRET
            if signature == rpc._special_resource_sig:
                return value["urn"]
            return {key: self._plain(item) for key, item in value.items() if key != rpc._special_sig_key}
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        return UNKNOWN if value == rpc.UNKNOWN else value


def _no_account(what: str) -> PlanError:
    return PlanError(f"{what} asks the provider, and a plan has no account: take the value from the stack's file")


def _decode(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {key: _decode_value(value) for key, value in struct.fields.items()}


def _decode_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _decode(value.struct_value)
        case "list_value":
            return [_decode_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _options(request: Any, referred: set[str]) -> dict[str, Any]:
    timeouts = request.customTimeouts
    options = {
        "protect": request.protect,
        "retain_on_delete": request.retainOnDelete,
        "delete_before_replace": request.deleteBeforeReplace,
        "ignore_changes": sorted(request.ignoreChanges),
        "replace_on_changes": sorted(request.replaceOnChanges),
        "additional_secret_outputs": sorted(request.additionalSecretOutputs),
        "deleted_with": request.deletedWith,
        "replace_with": sorted(request.replace_with),
        "depends_on": sorted(set(request.dependencies) - referred),
        "import": request.importId,
        "remote": request.remote,
        "aliases": sorted(str(alias).strip() for alias in request.aliases),
        "timeouts": {kind: value for kind in ("create", "update", "delete") if (value := getattr(timeouts, kind, ""))},
    }
    return {key: value for key, value in options.items() if value}


def _without_id(provider: str) -> str:
    return "::".join(provider.split("::")[:4])


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Each text in `value`, with the path to it."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{place}[{index}]")


def _symbols(kind: str, handle: str) -> dict[str, Any]:
    """Symbols for the properties that the class of `kind` declares."""
    return {name: _placed(value, handle) for name, value in _places(kind).items()}


def _placed(value: Any, handle: str) -> Any:
    if isinstance(value, str):
        return f"<{handle}.{value}>"
    if isinstance(value, dict):
        return {name: _placed(part, handle) for name, part in value.items()}
    return [_placed(item, handle) for item in value]


@functools.cache
def _places(kind: str) -> dict[str, Any]:
    """Of each property that the class of `kind` declares, the places of its texts."""
    declared = _declared(kind)
    if declared is None:
        return {}
    found = {name: _place(hint, name, _DEPTH) for name, hint in _types.resource_types(declared).items()}
    return {name: value for name, value in found.items() if value is not None and name not in ("id", "urn")}


def _place(hint: Any, place: str, depth: int) -> Any:
    """The places of texts in a value of type `hint`; None where there can be none."""
    hint = _types.unwrap_type(hint)
    if hint is str:
        return place
    if depth == 0:
        return None
    if typing.get_origin(hint) is not None:
        arguments = typing.get_args(hint)
        if len(arguments) == 1:
            item = _place(arguments[0], f"{place}[0]", depth - 1)
            return None if item is None else [item]
        return None
    if isinstance(hint, type) and _types.is_output_type(hint):
        parts = {
            name: _place(part, f"{place}.{name}", depth - 1) for name, part in _types.output_type_types(hint).items()
        }
        return {name: value for name, value in parts.items() if value is not None}
    return None


def _declared(kind: str) -> type[pulumi.CustomResource] | None:
    """The loaded class of resources of a type; what is registered was made from it, or has none."""
    waiting: list[type[pulumi.CustomResource]] = [pulumi.CustomResource]
    while waiting:
        current = waiting.pop()
        if getattr(current, "pulumi_type", None) == kind:
            return current
        waiting += current.__subclasses__()
    return None


def _difference(first: Graph, second: Graph) -> str:
    ours = {resource.urn: resource for resource in first.resources}
    theirs = {resource.urn: resource for resource in second.resources}
    for urn in sorted(ours.keys() ^ theirs.keys()):
        return f"{urn} is in one of two runs alone"
    for urn in sorted(ours):
        one, other = ours[urn].document(), theirs[urn].document()
        for key in one.keys() | other.keys():
            if one.get(key) != other.get(key):
                return f"{key} of {urn}"
    return "its outputs"

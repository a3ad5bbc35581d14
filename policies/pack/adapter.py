"""Plain resources from what the engine tells a policy pack."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_policy import PolicyResource, ResourceValidationArgs
from pulumi_policy import proxy as engine

from policies.documents import plain_inputs
from policies.model import UNKNOWN, Resource, Untold

_UNKNOWNS = frozenset(value for name, value in vars(engine).items() if name.startswith("UNKNOWN_"))
_OWN = "__provider"
"""Input of dynamic resources: their provider's code, which no rule is about."""
RENDERED = frozenset({"kubernetes:helm.sh/v4:Chart", "kubernetes:kustomize/v2:Directory"})
"""Components of the provider of Kubernetes, which registers them without what the program gave them."""


def resource(args: ResourceValidationArgs) -> Resource:
    """One resource as it is declared; what it refers to, only the whole stack tells."""
    given = {key: _plain(value) for key, value in _raw(args.props).items() if key != _OWN}
    untold = args.resource_type in RENDERED and not given
    return Resource(
        urn=args.urn,
        type=args.resource_type,
        name=args.name,
        inputs=Untold(f"the engine tells no policy what {args.name} is given: `falaj check` knows")
        if untold
        else plain_inputs(args.resource_type, given),
        parent=args.opts.parent or None,
        provider=args.provider.urn if args.provider else None,
        options={"protect": True} if args.opts.protect else {},
    )


def related(known: Resource, told: PolicyResource) -> Resource:
    """The same with its relations."""
    return Resource(
        urn=known.urn,
        type=known.type,
        name=known.name,
        inputs=known.inputs,
        parent=told.parent.urn if told.parent else known.parent,
        provider=known.provider,
        options=known.options,
        dependencies=tuple(sorted({one.urn for one in told.dependencies})),
        property_dependencies={
            key: tuple(sorted({one.urn for one in found})) for key, found in told.property_dependencies.items() if found
        },
    )


def _raw(props: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = props["__target"]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, engine._DictProxy | engine._ListProxy):
        # What stands in for a list is none, and raises where it is asked for what is not known.
        value = value["__target"]
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWNS else value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, pulumi.Asset | pulumi.Archive):
        return "[asset]"
    return int(value) if isinstance(value, float) and value.is_integer() else value

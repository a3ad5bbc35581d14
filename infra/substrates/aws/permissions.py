"""How wide a declared permission may be; no condition talks anyone around."""

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pulumi

from core.errors import ConfigError
from infra.substrates.cluster import Permission

_FACTS = Path(__file__).resolve().parents[2] / "data" / "iam-actions.json"
_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9]+")
_PATTERN = re.compile(
    r"arn:aws:(?P<service>[a-z0-9-]+):[a-z0-9-]*:([0-9]{12}|aws)?:(?P<first>[^*?/:]+)[/:](?P<rest>.+)"
)
"""An ARN with wildcards: service, region, account and what comes first (a type, a bucket) are never patterns."""
_NAMED = ("iam", "kms", "secretsmanager")
"""Services of which never all of a type are given: roles, keys and secrets, on which all else stands."""


@functools.cache
def without_resource() -> frozenset[str]:
    """Actions that know no resource, so that `*` is all that can be said of them."""
    return frozenset(json.loads(_FACTS.read_text())["without_resource"])


def narrow(permission: Permission, owner: str) -> list[pulumi.Input[str]]:
    """The permission's resources, as wide as its actions need; one that only the provider knows is looked at then.

    Args:
        owner: Who asks; errors name it.

    Raises:
        ConfigError: An action has a wildcard, or a resource is wider than it has to be.
    """
    for action in permission.actions:
        if not _ACTION.fullmatch(action):
            raise ConfigError(f"{owner} asks for {action}: name each action that it needs")
    if not permission.actions or not permission.resources:
        raise ConfigError(f"{owner} declares a permission without actions or without resources: name both")
    return [_resource(resource, permission.actions, owner) for resource in permission.resources]


def _resource(resource: pulumi.Input[str], actions: Sequence[str], owner: str) -> pulumi.Input[str]:
    if isinstance(resource, str):
        return _checked(resource, actions, owner)
    return pulumi.Output.all(resource).apply(lambda found: _checked(found[0], actions, owner))


def _checked(resource: str, actions: Sequence[str], owner: str) -> str:
    if resource == "*":
        knowing = sorted(set(actions) - without_resource())
        if knowing:
            raise ConfigError(
                f"{owner} asks for {knowing[0]} on everything: name the resources (those actions alone that "
                f"infra/data/{_FACTS.name} lists know none)"
            )
        return resource
    # In a plan a symbol stands for what only the provider knows.
    if not re.search(r"[*?]", resource) or resource.startswith("<"):
        return resource
    found = _PATTERN.fullmatch(resource)
    if found is None:
        raise ConfigError(f"{owner} asks for {actions[0]} on {resource}: name service, region, account and type of it")
    if found["service"] in _NAMED and found["rest"][0] in "*?":
        raise ConfigError(f"{owner} asks for {actions[0]} on {resource}: name each of them")
    return resource

"""Plans of single components, as the tests of this folder look at them."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
from pulumi import ResourceOptions

from infra.config import Aws, StackConfig, parse_config
from infra.plan import Graph, Resource, record
from infra.substrates.aws.account import Account, provider
from tests.infra.variations import document

STACKS = ("dev", "prod", "smb", "staging")


def config(stack: str) -> StackConfig:
    return parse_config(document(stack), stack)


def aws(found: StackConfig) -> Aws:
    assert isinstance(found.substrate, Aws)
    return found.substrate


def account(stack: str = "prod") -> Account:
    found = config(stack)
    return Account.of(found, aws(found), stack)


def plan(make: Callable[[StackConfig, Account, ResourceOptions], object], found: StackConfig, stack: str) -> Graph:
    """The graph of what `make` declares below a component with the stack's provider."""

    def run() -> None:
        group = pulumi.ComponentResource("test:index:Group", "group")
        options = ResourceOptions(parent=group, providers=[provider(found, aws(found), group)])
        make(found, Account.of(found, aws(found), stack), options)

    return program(stack, run)


def program(stack: str, run: Callable[[], None]) -> Graph:
    """The graph of a whole program, made in a thread of its own: the event loop of the tests' stays as it is."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(record, stack, {}, run).result()


def of_type(graph: Graph, kind: str) -> dict[str, Resource]:
    """Resources of a type such as `ec2/subnet:Subnet`, by name."""
    return {resource.name: resource for resource in graph.resources if resource.type == f"aws:{kind}"}


def statements(resource: Resource, key: str = "policy") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(resource.inputs[key])["Statement"]
    return found

"""The shapes that most rules have, so that a rule says what it asks for and no more."""

from collections.abc import Callable

from policies.graph import Graph
from policies.model import Faults, Judge, Resource

When = Callable[[Resource, Graph], bool]


def is_true(path: str) -> Judge:
    """The property at `path` is true."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        if str(resource.value(path, False)).lower() != "true":
            yield f"{path} is not true"

    return judge


def not_true(path: str) -> Judge:
    """The property at `path` is absent or false."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        if str(resource.value(path, False)).lower() == "true":
            yield f"{path} is true"

    return judge


def present(path: str) -> Judge:
    """There is something at `path`, known or not."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        if not resource.has(path):
            yield f"{path} is absent"

    return judge


def absent(path: str) -> Judge:
    """There is nothing at `path`."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        if resource.has(path):
            yield f"{path} is set"

    return judge


def among(path: str, *values: object) -> Judge:
    """The property at `path` is one of `values`."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        if resource.value(path) not in values:
            yield f"{path} is not {' or '.join(map(str, values))}"

    return judge


def at_least(path: str, minimum: float) -> Judge:
    """The number at `path` is `minimum` or more."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        found = float(resource.value(path, 0))
        if found < minimum:
            yield f"{path} is {found:g}, below {minimum:g}"

    return judge


def has_all(path: str, *values: str) -> Judge:
    """The list at `path` has all of `values`."""

    def judge(resource: Resource, _graph: Graph) -> Faults:
        missing = [value for value in values if value not in resource.each(path)]
        if missing:
            yield f"{path} lacks {', '.join(missing)}"

    return judge


def forbidden(what: str) -> Judge:
    """There is no such resource at all."""

    def judge(_resource: Resource, _graph: Graph) -> Faults:
        yield what

    return judge


def both(*judges: Judge) -> Judge:
    """All hold."""

    def judge(resource: Resource, graph: Graph) -> Faults:
        for one in judges:
            yield from one(resource, graph)

    return judge


def when(condition: When, inner: Judge) -> Judge:
    """`inner` holds where `condition` does."""

    def judge(resource: Resource, graph: Graph) -> Faults:
        if condition(resource, graph):
            yield from inner(resource, graph)

    return judge


def in_production(inner: Judge) -> Judge:
    """`inner` holds in production."""
    return when(lambda _resource, graph: graph.settings.production, inner)

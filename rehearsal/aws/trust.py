"""How far the rehearsal's word on each type of AWS resource goes: `python -m rehearsal.aws.trust` prints the table of
docs/rehearsal.md.
"""

import functools
import importlib
import inspect
import sys

from moto.core.responses import BaseResponse
from moto.core.utils import camelcase_to_underscores

from rehearsal.aws import KINDS
from rehearsal.aws.kind import Kind, Step
from rehearsal.aws.tagging import NOT_RETAGGED, tagging


def emulates(service: str, operation: str) -> bool:
    """Whether moto has an operation at all: it may still know less of it than AWS does."""
    # All of S3 that the tables name is emulated; its requests are told apart by their query, not by a name.
    return service == "s3" or any(hasattr(known, camelcase_to_underscores(operation)) for known in _answering(service))


@functools.cache
def _answering(service: str) -> list[type]:
    try:
        module = importlib.import_module(f"moto.{service}.responses")
    except ModuleNotFoundError:
        return []
    return [found for _, found in inspect.getmembers(module, inspect.isclass) if issubclass(found, BaseResponse)]


def word(table: Kind) -> str:
    """What a rehearsal knows of a type, in a few words."""
    if not _emulates(table.create, table):
        return "parameters alone, by AWS's model"
    if table.read is None or not emulates(table.service, table.read.operation):
        return "made; changes by hand are not seen"
    return "made and looked at"


def lacking(kind: str, table: Kind) -> list[str]:
    """Operations that change or delete the type, and that moto lacks."""
    steps = [*table.after, *table.update, *table.delete, *([tagging(kind, table.service)] if table.tags else [])]
    return sorted({_named(step) for step in steps if not _emulates(step, table)})


def is_deleted(table: Kind) -> bool:
    """Whether moto can delete the type."""
    return all(_emulates(step, table) for step in table.delete)


def retags(kind: str) -> bool:
    """Whether moto can change the tags of what it has of a type."""
    table = KINDS.get(kind)
    if table is None or table.tags is None or kind in NOT_RETAGGED:
        return False
    return _emulates(tagging(kind, table.service), table)


def _emulates(step: Step, table: Kind) -> bool:
    return emulates(step.service or table.service, _named(step))


def _named(step: Step) -> str:
    # The one name with a part to be filled in is that of rules, whose two directions are alike.
    return step.operation.format(direction="Ingress")


def rows() -> list[str]:
    """The table, a line each, in Markdown."""
    found = [
        "| type | made by | the rehearsal's word | changed and deleted by AWS's model alone |",
        "|---|---|---|---|",
    ]
    for kind, table in sorted(KINDS.items()):
        name = f"{kind.split('/')[0]}.{kind.rpartition(':')[2]}"
        made, lacks = f"{table.service}:{_named(table.create)}", ", ".join(lacking(kind, table))
        found.append(f"| `{name}` | {made} | {word(table)} | {lacks} |")
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")

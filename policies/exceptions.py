"""What may be otherwise, for a time: `exceptions/*.yaml`.

Each file holds a list of entries:

    - rule: namespace-level
      stacks: [onprem]
      resource: kubernetes:core/v1:Namespace::gpu
      reason: The device plugin talks to the node's driver.
      approver: security@example.ae
      expires: 2027-06-30

`legal_basis` says why data may leave the country, and is needed where a rule about that is broken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError
from policies.controls import TRANSFER
from policies.engine import Judgement, Status
from policies.rules import BY_ID

_Text = Annotated[str, Field(min_length=3, max_length=2000)]


class Entry(BaseModel):
    """One exception.

    Attributes:
        resource: Type and name, as `falaj check` shows them: `kubernetes:core/v1:Namespace::gpu`.
        expires: The first day on which it no longer holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    stacks: tuple[str, ...] = Field(min_length=1)
    resource: Annotated[str, Field(pattern=r"^[^\s]+:[^\s]*::.+$")]
    reason: _Text
    legal_basis: _Text | None = None
    approver: _Text
    expires: date


@dataclass(frozen=True, kw_only=True)
class Excepted:
    """An entry and where it is written, such as `exceptions/node-daemons.yaml:3`."""

    entry: Entry
    place: str


def read_exceptions(folder: Path) -> list[Excepted]:
    """All entries, by file and line.

    Raises:
        ConfigError: A file is broken, or names what there is not; the message has the line and the remedy.
    """
    return [one for file in sorted(folder.glob("*.y*ml")) for one in _read(file)]


def _read(file: Path) -> list[Excepted]:
    shown = f"{file.parent.name}/{file.name}"
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        listed = yaml.load(text, Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{shown}:{mark.line + 1 if mark else 1}: not YAML: {problem}. Mend the line") from error
    if not isinstance(listed, list) or not isinstance(node, yaml.SequenceNode):
        raise ConfigError(
            f"{shown}:1: there should be a list of exceptions, each with rule, stacks, resource, reason, "
            "approver and expires"
        )
    return [_entry(f"{shown}:{at.start_mark.line + 1}", one) for at, one in zip(node.value, listed, strict=True)]


def _entry(place: str, document: object) -> Excepted:
    try:
        entry = Entry.model_validate(document)
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, fault['loc'])) or 'entry'}: "
            + ("there is no such key: remove it" if fault["type"] == "extra_forbidden" else fault["msg"])
            for fault in error.errors()
        ]
        raise ConfigError(f"{place}: this is no exception:\n" + "\n".join(faults)) from error
    rule = BY_ID.get(entry.rule)
    if rule is None:
        raise ConfigError(f"{place}: there is no rule {entry.rule}: `falaj check --rules` lists them")
    if entry.legal_basis is None and set(TRANSFER) <= set(rule.controls):
        raise ConfigError(f"{place}: {entry.rule} keeps data in the country: say in legal_basis why they may leave it")
    return Excepted(entry=entry, place=place)


def apply(
    judgements: Iterable[Judgement], exceptions: Sequence[Excepted], stack: str, today: date
) -> tuple[list[Judgement], list[str]]:
    """Judgements with what is excepted, and what is wrong with the exceptions of the stack.

    An exception that is out of date excuses nothing; one that nothing needs is wrong too, for it would excuse
    what comes. Whether one is needed by what cannot be judged, no one can say.
    """
    mine = [one for one in exceptions if stack in one.entry.stacks]
    valid = {(one.entry.rule, one.entry.resource): one for one in mine if today < one.entry.expires}
    used: set[str] = set()
    found: list[Judgement] = []
    for judgement in judgements:
        if judgement.status in (Status.FAIL, Status.UNKNOWN):
            key = (judgement.rule.id, f"{judgement.resource.type}::{judgement.resource.name}")
            exception = valid.get(key)
            if exception is not None:
                used.add(exception.place)
            if exception is not None and judgement.status is Status.FAIL:
                judgement = replace(judgement, status=Status.EXCEPTED, exception=exception.place)
        found.append(judgement)
    problems = [
        f"{one.place}: the exception of {one.entry.rule} for {one.entry.resource} is out of date since "
        f"{one.entry.expires.isoformat()}: mend what it excuses, or have it approved again"
        for one in mine
        if today >= one.entry.expires
    ]
    problems += [
        f"{one.place}: {stack} does not need the exception of {one.entry.rule} for {one.entry.resource}: "
        "remove the stack from it"
        for one in mine
        if today < one.entry.expires and one.place not in used
    ]
    return found, problems

"""Controls as data: what a law or standard asks, what a machine can check of it, and what remains for a person.

Which rules give evidence for a control, the rules say.
"""

import functools
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError
from policies.model import Rule
from policies.settings import Profile

FOLDER = Path(__file__).parent
Language = Literal["en", "ar"]
LANGUAGES: tuple[Language, ...] = ("en", "ar")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(_Model):
    """The same in both languages."""

    en: str = Field(min_length=1)
    ar: str = Field(min_length=1)

    def of(self, language: Language) -> str:
        """The text in a language."""
        return self.ar if language == "ar" else self.en


class Control(_Model):
    """One obligation.

    Attributes:
        reference: As the law or standard numbers it.
        machine: What is checked here.
        person: What only a person can answer.
    """

    id: str = Field(pattern=r"^[a-z]+(-[a-z0-9.]+)+$")
    reference: str
    title: Text
    machine: Text
    person: Text


class Uncertain(Text):
    """What is unclear in law, and the setting by which a stack decides it."""

    setting: str


class Source(_Model):
    """Where the controls come from, and when that was looked at."""

    title: str
    checked: date


class Framework(_Model):
    """A law or standard. One with a profile holds where the stack's file names the profile."""

    id: str
    title: Text
    source: Source
    profile: Profile | None = None
    uncertain: tuple[Uncertain, ...] = ()
    controls: tuple[Control, ...] = Field(min_length=1)


@functools.cache
def frameworks() -> tuple[Framework, ...]:
    """All of them, the federal laws first.

    Raises:
        ConfigError: A file of the catalogue is not valid; the message names file and key.
    """
    order = ("uae-pdpl", "uae-ia", "iso-27001", "gdpr", "cis-eks")
    found = [_read(file) for file in sorted(FOLDER.glob("*.yaml"))]
    return tuple(sorted(found, key=lambda one: (order.index(one.id) if one.id in order else len(order), one.id)))


def selected(profiles: Sequence[str]) -> list[Framework]:
    """Those that hold for a stack."""
    return [one for one in frameworks() if one.profile is None or one.profile in profiles]


def controls() -> Mapping[str, Control]:
    """Every control by its id."""
    return {control.id: control for framework in frameworks() for control in framework.controls}


def evidence(control: Control, rules: Sequence[Rule]) -> list[Rule]:
    """The rules that give evidence for a control."""
    return [rule for rule in rules if control.id in rule.controls]


def _read(file: Path) -> Framework:
    try:
        return Framework.model_validate(yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader))
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError(f"policies/catalogue/{file.name} is not valid:\n" + "\n".join(faults)) from error
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"policies/catalogue/{file.name} cannot be read: {error}") from error

"""Steps of a rehearsal: what the engine did in each, held against what it must do."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import FalajError
from rehearsal.engine import Outcome


class RehearsalError(FalajError):
    """A step of the rehearsal went otherwise than it must; the message says which and how."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: what the engine did, by kind of change, and for how long."""

    name: str
    seconds: float
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A rehearsal that went through.

    Attributes:
        substitutes: Packages for which providers of ours stood in.
        notes: What was checked less than the rest, by why.
    """

    stack: str
    stages: list[Stage] = field(default_factory=list)
    substitutes: list[str] = field(default_factory=list)
    notes: Mapping[str, list[str]] = field(default_factory=dict)


class Steps:
    """Those that a stack went through so far."""

    def __init__(self, stack: str, folder: Path, say: Callable[[str], None]) -> None:
        """`folder` holds the logs; `say` takes lines of progress."""
        self.stack, self.folder, self.say = stack, folder, say
        self.done: list[Stage] = []

    def through(self, name: str, outcome: Outcome) -> Outcome:
        """A step that must succeed.

        Raises:
            RehearsalError: It did not.
        """
        counts = ", ".join(f"{count} {what}" for what, count in sorted(outcome.counts.items()))
        self.say(f"{name}: {counts or 'nothing'} in {outcome.seconds:.0f} s")
        self.done.append(Stage(name=name, seconds=outcome.seconds, counts=outcome.counts))
        if not outcome.succeeded:
            raise RehearsalError(self._failure(name, outcome.errors))
        return outcome

    def expect(self, outcome: Outcome, updates: Mapping[str, int]) -> None:
        """Whether exactly so many resources of these types were updated, and nothing else done.

        Raises:
            RehearsalError: It was otherwise.
        """
        found: dict[str, int] = {}
        for urn, what in outcome.done.items():
            kind = urn.split("::")[2].rpartition("$")[2]
            key = kind if what == "update" else f"{what} of {urn}"
            found[key] = found.get(key, 0) + 1
        if found != dict(updates):
            wrong = [f"{key}: {count}" for key, count in found.items()] or ["nothing"]
            expected = [f"{key}: {count}" for key, count in updates.items()] or ["nothing"]
            self.check(
                ["to be updated was", *(f"  {line}" for line in expected), "and was", *(f"  {line}" for line in wrong)]
            )

    def refused(self, name: str, seconds: float) -> None:
        """A step that rightly did nothing."""
        self.say(f"{name}: nothing in {seconds:.0f} s")
        self.done.append(Stage(name=name, seconds=seconds, counts={}))

    def check(self, wrong: Sequence[str]) -> None:
        """Whether nothing is wrong with the last step.

        Raises:
            RehearsalError: Something is.
        """
        if wrong:
            raise RehearsalError(self._failure(self.done[-1].name, wrong))

    def _failure(self, name: str, lines: Sequence[str]) -> str:
        shown = "\n".join(f"  {line}" for line in lines)
        return f"the rehearsal of {self.stack} failed at `{name}` (logs: {self.folder}):\n{shown}"


def unrepaired(touched: Collection[str], outcome: Outcome) -> list[str]:
    """What of that which was altered by hand a step left as it was, and what it changed besides."""
    wrong = [f"{urn} was altered by hand and not repaired" for urn in touched if urn not in outcome.done]
    done = outcome.done.items()
    return wrong + [f"{urn}: {what}, and no one had altered it" for urn, what in done if urn not in touched]

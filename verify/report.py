"""What the checks found, as evidence."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

Result = Literal["passed", "failed", "skipped", "error"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check.

    Attributes:
        id: `<part>.<name>`.
        holds: What it holds, in a sentence.
        looked_at: How many subjects it judged.
        reason: What is wrong, or why nothing was asked.
        unasked: Subjects that could not be asked, with the reason.
        seconds: How long it took.
    """

    id: str
    holds: str
    result: Result
    looked_at: int
    reason: str
    unasked: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """All checks of a stack.

    Attributes:
        time: When it was looked at, ISO 8601 in UTC.
        asked: What was asked: account and region, address of the API server, folder.
    """

    stack: str
    time: str
    asked: dict[str, str]
    checks: list[Check]

    @property
    def counts(self) -> dict[str, int]:
        """How many checks ended how."""
        return dict(Counter(check.result for check in self.checks))

    @property
    def holds(self) -> bool:
        """Whether something was looked at, and nothing is wrong."""
        return "passed" in self.counts and not {"failed", "error"} & self.counts.keys()

    def document(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "stack": self.stack,
            "time": self.time,
            "asked": self.asked,
            "holds": self.holds,
            "counts": self.counts,
            "checks": [vars(check) for check in self.checks],
        }

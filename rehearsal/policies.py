"""The policy pack during a rehearsal, held against the check without an engine."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rehearsal.engine import Finding, Outcome


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The pack as the engine starts it, and what it must find: what `falaj check` finds."""

    pack: Path
    expected: Collection[Finding]

    def differences(self, outcome: Outcome) -> list[str]:
        """What only one of the two found."""
        found, expected = outcome.findings, set(self.expected)
        alone = [f"the pack alone: {each.rule}: {each.text}" for each in sorted(found - expected)]
        return alone + [f"`falaj check` alone: {each.rule}: {each.text}" for each in sorted(expected - found)]

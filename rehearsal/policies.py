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
        # What cannot be known before anything is there, the engine may know by the end.
        found = {each for each in outcome.findings if each.rule != "not-known"}
        expected = set(self.expected)
        alone = [f"the pack alone: {each.rule}: {each.text}" for each in sorted(found - expected)]
        return alone + [f"`falaj check` alone: {each.rule}: {each.text}" for each in sorted(expected - found)]

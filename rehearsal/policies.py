"""The policy pack during a rehearsal, held against the check without an engine."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rehearsal.engine import Finding, Outcome

_NOT_KNOWN = "not-known"


@dataclass(frozen=True, kw_only=True)
class Policies:
    """The pack as the engine starts it, and what it must find: what `falaj check` finds."""

    pack: Path
    expected: Collection[Finding]

    def differences(self, outcome: Outcome) -> list[str]:
        """What only one of the two found, of what both can judge."""
        # What cannot be known before anything is there, the engine may know by the end; what charts are given, it
        # never knows.
        found = {each for each in outcome.findings if each.rule != _NOT_KNOWN}
        told = [each.text.split(": ", 2) for each in outcome.findings if each.rule == _NOT_KNOWN]
        unknown = {(rule, resource) for rules, resource, _ in told for rule in rules.split(", ")}
        expected = {each for each in self.expected if (each.rule, each.text.partition(": ")[0]) not in unknown}
        alone = [f"the pack alone: {each.rule}: {each.text}" for each in sorted(found - set(self.expected))]
        return alone + [f"`falaj check` alone: {each.rule}: {each.text}" for each in sorted(expected - found)]

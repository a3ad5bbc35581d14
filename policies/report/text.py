"""What a check found, for a person at a terminal."""

from policies.engine import Status
from policies.outcome import MANDATORY, Outcome, remedy


def text(outcome: Outcome) -> str:
    """Faults with their remedies, what is not known, what is wrong with exceptions, and a last line that sums up."""
    lines: list[str] = []
    for one in outcome.of(Status.FAIL):
        mark = "" if outcome.level(one) == MANDATORY else ", advisory"
        place = f" ({one.resource.place})" if one.resource.place else ""
        lines.append(f"{outcome.subject}: {one.rule.id} [{one.rule.severity}{mark}]: {one.rule.title}")
        lines.append(f"  {one.resource.type}::{one.resource.name}{place}")
        lines += [f"  {message}" for message in one.messages]
        lines.append(f"  → {remedy(outcome, one)}")
    for one in outcome.of(Status.UNKNOWN):
        lines.append(f"{outcome.subject}: {one.rule.id} [not known]: {one.resource.name}: {'; '.join(one.messages)}")
    lines += [f"{outcome.subject}: {problem}" for problem in outcome.problems]
    counts = {status: len(outcome.of(status)) for status in Status}
    rules = len({one.rule.id for one in outcome.judgements})
    lines.append(
        f"{outcome.subject}: {'FAILED' if outcome.failed else 'passed'}: {rules} rules on {outcome.graph.size} "
        "resources: "
        f"{counts[Status.PASS]} pass, {counts[Status.FAIL]} fail, {counts[Status.EXCEPTED]} excepted, "
        f"{counts[Status.UNKNOWN]} not known"
    )
    return "\n".join(lines) + "\n"

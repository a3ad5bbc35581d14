"""The rules as a pack of Pulumi's CrossGuard: one policy a rule, the same findings as `falaj check`.

Each resource is told as the program declares it, without the objects that charts and kustomizations render; when the
engine has all, the graph is judged once, and each policy reports its share. What is known only once it exists is told
by the policy `not-known`, which stops nothing.
"""

import sys
from datetime import date
from pathlib import Path

import yaml
from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)

PACK = Path(__file__).resolve().parent
ROOT = PACK.parent.parent
# The engine runs this file with its own folder first; what it stands on lies above.
sys.path[:0] = [str(ROOT), str(PACK)]

from adapter import RENDERED, related, resource  # noqa: E402

from policies.documents import contracts, stack_graph  # noqa: E402
from policies.engine import Judgement, Status  # noqa: E402
from policies.exceptions import read_exceptions  # noqa: E402
from policies.model import Resource, Rule  # noqa: E402
from policies.outcome import Outcome, examine, remedy  # noqa: E402
from policies.rules import RULES  # noqa: E402
from policies.settings import read_settings  # noqa: E402

_SECTION = "falaj:stack"
_OF_THE_PLAN = frozenset({"secret-in-clear"})
"""Rules that `falaj check` alone judges: the engine tells policies what secrets hold, and not that they are secrets."""


class _Stack:
    """What the engine has told, and what the rules say of it."""

    def __init__(self) -> None:
        self.policies: dict[str, StackValidationPolicy] = {}
        self.asked: list[StackValidationPolicy | ResourceValidationPolicy] = []
        self._excused: list[StackValidationPolicy] = []
        self._declared: dict[str, Resource] = {}
        self._name = ""
        self.advisory: frozenset[str] = frozenset()
        self._outcome: Outcome | None = None

    def tell(self, args: ResourceValidationArgs, _report: ReportViolation) -> None:
        if not self._name:
            # A URN is the first to say which stack it is.
            self._name = args.urn.split("::")[0].rpartition(":")[2]
            self.advisory = frozenset(read_settings(_section(self._name), self._name).policies.advisory)
        self._outcome = None
        self.asked += self._excused
        self._excused = []
        # What a chart makes of its values is not declared here: the check does not know it, nor do the exceptions.
        if not RENDERED & set(args.urn.split("::")[2].split("$")[:-1]):
            self._declared[args.urn] = resource(args)

    def outcome(self, args: StackValidationArgs) -> Outcome:
        if self._outcome is None:
            told: list[PolicyResource] = args.resources
            found = [related(self._declared[one.urn], one) for one in told if one.urn in self._declared]
            graph = stack_graph(self._name, found, _section(self._name), contracts(ROOT), date.today())
            self._outcome = examine(self._name, graph, read_exceptions(ROOT / "exceptions"))
            self._excuse(self._outcome)
        return self._outcome

    def _excuse(self, outcome: Outcome) -> None:
        """Have those asked no more that have nothing to report: all resources are decoded anew for each that is."""
        found = {one.rule.id for one in outcome.of(Status.FAIL)} - self.advisory
        self._excused = [policy for rule, policy in self.policies.items() if rule not in found]
        self.asked[:] = [policy for policy in self.asked if policy not in self._excused]


def _section(stack: str) -> dict[str, object]:
    document = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    found: dict[str, object] = document["config"][_SECTION]
    return found


def _policy(rule: Rule, stack: _Stack) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        outcome = stack.outcome(args)
        for one in outcome.of(Status.FAIL):
            if one.rule.id == rule.id and rule.id not in stack.advisory:
                report(_words(outcome, one), one.resource.urn)

    return StackValidationPolicy(
        name=rule.id,
        description=rule.title,
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
        severity=Severity(rule.severity.value),
        remediation_steps=rule.remedy,
        tags=list(rule.controls),
    )


def _words(outcome: Outcome, one: Judgement) -> str:
    return f"{one.resource.type}::{one.resource.name}: {'; '.join(one.messages)}. {remedy(outcome, one)}"


def _advisory(stack: _Stack) -> StackValidationPolicy:
    """For rules that the stack takes as advice: the engine asks for levels before it says which stack it is."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        outcome = stack.outcome(args)
        for one in outcome.of(Status.FAIL):
            if one.rule.id in stack.advisory:
                report(f"{one.rule.id}: {_words(outcome, one)}", one.resource.urn)

    return StackValidationPolicy(
        name="advisory",
        description="Rules that the stack's file takes as advice",
        validate=validate,
        enforcement_level=EnforcementLevel.ADVISORY,
    )


def _not_known(stack: _Stack) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        # Of what charts are given nothing is known, and every rule about charts says so.
        rules: dict[tuple[str, str], list[str]] = {}
        for one in stack.outcome(args).of(Status.UNKNOWN):
            words = f"{one.resource.type}::{one.resource.name}: {'; '.join(one.messages)}"
            rules.setdefault((one.resource.urn, words), []).append(one.rule.id)
        for (urn, words), found in rules.items():
            report(f"{', '.join(found)}: {words}", urn)

    return StackValidationPolicy(
        name="not-known",
        description="Rules that cannot be judged from what is at hand",
        validate=validate,
        enforcement_level=EnforcementLevel.ADVISORY,
    )


def _exceptions(stack: _Stack) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for problem in stack.outcome(args).problems:
            report(problem, None)

    return StackValidationPolicy(
        name="exceptions",
        description="Exceptions are in date and needed",
        validate=validate,
        enforcement_level=EnforcementLevel.MANDATORY,
    )


def main() -> None:
    """Serve the pack to the engine."""
    stack = _Stack()
    stack.policies = {rule.id: _policy(rule, stack) for rule in RULES if rule.id not in _OF_THE_PLAN}
    listener = ResourceValidationPolicy(
        name="resources",
        description="Takes note of each resource",
        validate=stack.tell,
        enforcement_level=EnforcementLevel.ADVISORY,
    )
    # The first to be asked judges, and says by that which of those after it have something to report.
    stack.asked = [listener, _exceptions(stack), _not_known(stack), _advisory(stack), *stack.policies.values()]
    PolicyPack(name="falaj", policies=stack.asked)


main()

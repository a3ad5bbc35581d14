"""All rules, by topic."""

from policies.model import Rule
from policies.rules import (
    charts,
    encryption,
    evidence,
    governance,
    identity,
    keeping,
    network,
    operation,
    residency,
    serving,
    supply,
    workloads,
)

TOPICS: dict[str, tuple[Rule, ...]] = {
    "residency": residency.RULES,
    "encryption": encryption.RULES,
    "network": network.RULES,
    "identity": identity.RULES,
    "evidence": evidence.RULES,
    "keeping": keeping.RULES,
    "workloads": workloads.RULES,
    "supply": supply.RULES,
    "charts": charts.RULES,
    "serving": serving.RULES,
    "operation": operation.RULES,
    "governance": governance.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in TOPICS.values() for rule in rules)
BY_ID: dict[str, Rule] = {rule.id: rule for rule in RULES}

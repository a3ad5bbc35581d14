"""All mutations by topic."""

from collections.abc import Mapping, Sequence

from tests.policies.mutations import (
    encryption,
    evidence,
    governance,
    identity,
    keeping,
    network,
    residency,
    serving,
    workloads,
)
from tests.policies.mutations.world import Mutation

TOPICS: Mapping[str, Sequence[Mutation]] = {
    "residency": residency.MUTATIONS,
    "encryption": encryption.MUTATIONS,
    "network": network.MUTATIONS,
    "identity": identity.MUTATIONS,
    "logging and evidence": evidence.MUTATIONS,
    "backup and recovery": keeping.BACKUP,
    "retention and erasure": keeping.RETENTION,
    "availability": keeping.AVAILABILITY,
    "workload hardening": workloads.HARDENING,
    "machines": workloads.MACHINES,
    "supply chain": workloads.SUPPLY,
    "data contracts": serving.CONTRACTS,
    "pipelines": serving.PIPELINES,
    "models": serving.MODELS,
    "governance": governance.PEOPLE,
    "cost": governance.MONEY,
    "exceptions": governance.EXCEPTIONS,
}
MUTATIONS: Sequence[Mutation] = [one for found in TOPICS.values() for one in found]

"""What a graph must hold before it is deployed, each check against a failure that real deployments met."""

from infra.checks.alerts import alerts
from infra.checks.fit import fit
from infra.checks.network import network
from infra.checks.objects import Objects
from infra.checks.order import order
from infra.checks.references import references
from infra.checks.rights import rights
from infra.checks.versions import versions
from infra.config import Kubernetes, Local, StackConfig
from infra.plan import Graph


def faults(graph: Graph, settings: StackConfig) -> list[str]:
    """What would fail, or never come up, once the graph is deployed; sorted."""
    if isinstance(settings.substrate, Local):
        return []
    installed = frozenset(settings.substrate.installed if isinstance(settings.substrate, Kubernetes) else ())
    objects = Objects(graph)
    return sorted(
        {
            *alerts(objects),
            *fit(objects, settings),
            *network(objects),
            *order(objects, installed),
            *references(objects),
            *rights(objects),
            *versions(objects),
        }
    )

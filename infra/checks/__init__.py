"""What a graph must hold before it is deployed, each check against a failure that real deployments met."""

from infra.checks.alerts import alerts
from infra.checks.cloud import cloud
from infra.checks.entrance import entrance
from infra.checks.fit import fit
from infra.checks.machines import machines
from infra.checks.named import named
from infra.checks.network import network
from infra.checks.objects import Objects
from infra.checks.order import order
from infra.checks.references import references
from infra.checks.rights import rights
from infra.checks.stores import stores
from infra.checks.trust import trust
from infra.checks.versions import versions
from infra.checks.waits import waits
from infra.checks.workloads import workloads
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
            *cloud(objects),
            *entrance(objects),
            *fit(objects, settings),
            *machines(objects),
            *named(objects),
            *network(objects),
            *order(objects, installed),
            *references(objects),
            *rights(objects),
            *stores(objects),
            *trust(objects),
            *versions(objects),
            *waits(objects),
            *workloads(objects),
        }
    )

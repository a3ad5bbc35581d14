"""OpenCost: what namespaces, workloads and pools cost, by what Prometheus measures and the stack's own prices.

Its interface for people must be built anew for each path that it is to be served under, and writes into its own
image as it starts: it is left out. Grafana shows the figures, and administrators can ask the API.
"""

from collections.abc import Mapping

import pulumi
from pulumi import ResourceOptions

from infra.addons.chart import Values, install, requests
from infra.addons.monitoring import NAMESPACE as MONITORING
from infra.addons.monitoring import PROMETHEUS
from infra.addons.pods import RESTRICTED
from infra.config.platform import CostMonitor, UnitPrices
from infra.substrates.cluster import Backend, Cluster, ClusterRoute, NamespaceSpec

NAMESPACE = NamespaceSpec(name="opencost", callers=(MONITORING.name,))
_PORT = 9003
_PODS = {"app.kubernetes.io/name": "opencost"}
_USER = 1001
"""Of the image."""
_MONTH_HOURS = 730


def prices(settings: UnitPrices) -> Mapping[str, str]:
    """OpenCost's own names: prices by the hour, and the labels that tell the kinds of nodes apart."""
    return {
        "description": "Unit prices of the stack's file",
        "CPU": f"{settings.cpu_hour:.6f}",
        "spotCPU": f"{settings.spot_cpu_hour:.6f}",
        "RAM": f"{settings.memory_gib_hour:.6f}",
        "spotRAM": f"{settings.spot_memory_gib_hour:.6f}",
        "GPU": f"{settings.gpu_hour:.6f}",
        "storage": f"{settings.storage_gib_month / _MONTH_HOURS:.9f}",
        "spotLabel": "karpenter.sh/capacity-type",
        "spotLabelValue": "spot",
        "gpuLabel": "nvidia.com/gpu.present",
        "gpuLabelValue": "true",
    }


def values(settings: CostMonitor, cluster_name: pulumi.Input[str], registry: str, pull_secrets: list[str]) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for ghcr.io.
    """
    return {
        "fullnameOverride": "opencost",
        "imagePullSecrets": [{"name": name} for name in pull_secrets],
        "podSecurityContext": {"fsGroup": _USER},
        "opencost": {
            "exporter": {
                "image": {"registry": registry},
                "defaultClusterId": cluster_name,
                "resources": requests("50m", "512Mi"),
                "securityContext": {**RESTRICTED, "runAsUser": _USER},
                # A cloud's price list would be asked for where it is kept: outside the country.
                "extraEnv": {"USE_CUSTOM_PROVIDER": "true"},
            },
            "customPricing": {"enabled": True, "costModel": dict(prices(settings.prices))},
            "prometheus": {"internal": {"enabled": False}, "external": {"enabled": True, "url": PROMETHEUS}},
            "metrics": {"serviceMonitor": {"enabled": True}},
            "mcp": {"enabled": False},
            "ui": {"enabled": False},
        },
    }


def route() -> ClusterRoute:
    """The API, for administrators: who costs what is not for everyone."""
    return ClusterRoute(
        name="opencost",
        namespace=NAMESPACE.name,
        prefixes=["/opencost"],
        backends=[Backend(service="opencost", port=_PORT, pods=_PODS)],
        rewrite="/",
        who="administrators",
    )


class OpenCost(pulumi.ComponentResource):
    """The exporter, scraped by Prometheus, and its API behind the gateway."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        settings: CostMonitor,
        monitors: pulumi.Resource,
        opts: ResourceOptions | None = None,
    ) -> None:
        """`monitors` is Prometheus, with what defines ServiceMonitor."""
        super().__init__("falaj:addons:OpenCost", name, None, opts)
        pull_secrets = list(cluster.pull_secrets(NAMESPACE))
        chart = values(settings, cluster.name, cluster.registry("ghcr.io"), pull_secrets)
        install("opencost", cluster, NAMESPACE, chart, parent=self, depends_on=[monitors])
        cluster.route(route())
        self.register_outputs({})

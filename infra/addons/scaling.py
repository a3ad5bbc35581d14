"""metrics-server, for scaling by use, and KEDA, for scaling by anything else and to zero."""

import pulumi

from infra.addons.chart import Values, install, requests
from infra.addons.pods import pull
from infra.substrates.cluster import Cluster, NamespaceSpec

METRICS = NamespaceSpec(name="metrics-server", webhooks=(10250,))
KEDA = NamespaceSpec(name="keda", webhooks=(6443, 9443))


def metrics_values(registry: str, replicas: int) -> Values:
    """Values of metrics-server's chart.

    Args:
        registry: Stands for registry.k8s.io.
    """
    return {
        "image": {"repository": f"{registry}/metrics-server/metrics-server"},
        "replicas": replicas,
        "podDisruptionBudget": {"enabled": replicas > 1, "minAvailable": 1},
        "resources": requests("100m", "200Mi"),
    }


def keda_values(registry: str, replicas: int) -> Values:
    """Values of KEDA's chart.

    Args:
        registry: Stands for ghcr.io.
    """
    names = {"keda": "keda", "metricsApiServer": "keda-metrics-apiserver", "webhooks": "keda-admission-webhooks"}
    images = {part: {"registry": registry, "repository": f"kedacore/{name}"} for part, name in names.items()}
    return {
        "image": {**images, "pullPolicy": "IfNotPresent"},
        "operator": {"replicaCount": replicas},
        "metricsServer": {"replicaCount": replicas},
        "webhooks": {"replicaCount": replicas},
        # Only what has replicas can be scaled, so that its role need not reach every kind there is.
        "rbac": {
            "scaledRefKinds": [
                {"apiGroup": "apps", "kind": "deployments"},
                {"apiGroup": "apps", "kind": "statefulsets"},
            ]
        },
        "resources": {
            "operator": requests("50m", "256Mi"),
            "metricServer": requests("50m", "256Mi"),
            "webhooks": requests("10m", "64Mi"),
        },
    }


class MetricsServer(pulumi.ComponentResource):
    """Use of CPU and memory by pods, which horizontal autoscalers read."""

    def __init__(
        self, name: str, cluster: Cluster, replicas: int = 1, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:addons:MetricsServer", name, None, opts)
        if not cluster.installed("metrics-server"):
            values = metrics_values(cluster.registry("registry.k8s.io"), replicas)
            values["imagePullSecrets"] = pull(cluster.pull_secrets(METRICS))
            install("metrics-server", cluster, METRICS, values, parent=self)
        self.register_outputs({})


class Keda(pulumi.ComponentResource):
    """KEDA. `ready` is what every ScaledObject depends on; None where the site runs it."""

    def __init__(
        self, name: str, cluster: Cluster, replicas: int = 1, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:addons:Keda", name, None, opts)
        self.ready: pulumi.Resource | None = None
        if not cluster.installed("keda"):
            values = keda_values(cluster.registry("ghcr.io"), replicas)
            values["imagePullSecrets"] = pull(cluster.pull_secrets(KEDA))
            self.ready = install("keda", cluster, KEDA, values, parent=self)
        self.register_outputs({})

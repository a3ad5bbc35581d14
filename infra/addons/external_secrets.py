"""External Secrets: brings secrets of the stack's secret store into namespaces."""

from collections.abc import Sequence

import pulumi

from infra.addons.chart import Values, install, requests
from infra.addons.pods import pull
from infra.substrates.cluster import Cluster, NamespaceSpec

NAMESPACE = NamespaceSpec(name="external-secrets", callers=("monitoring",), webhooks=(10250,))
ACCOUNT = "external-secrets"
"""The service account of the controller; the substrate says which secrets it may read."""


def values(registry: str, replicas: int, pull_secrets: Sequence[str] = ()) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for ghcr.io.
        pull_secrets: Names of the secrets that the registry wants.
    """
    pulled = {"imagePullSecrets": pull(pull_secrets)}
    image = {"repository": f"{registry}/external-secrets/external-secrets"}
    budget = {"enabled": replicas > 1, "minAvailable": 1}
    return {
        **pulled,
        "image": image,
        "replicaCount": replicas,
        "leaderElect": replicas > 1,
        "podDisruptionBudget": budget,
        "serviceAccount": {"name": ACCOUNT},
        "resources": requests("20m", "256Mi"),
        # The platform names each secret where it is used: nothing is pushed outside or spread over namespaces.
        "processClusterExternalSecret": False,
        "processClusterPushSecret": False,
        "processPushSecret": False,
        "processClusterGenerator": False,
        "crds": {
            "createClusterExternalSecret": False,
            "createClusterPushSecret": False,
            "createPushSecret": False,
            "createClusterGenerator": False,
        },
        "webhook": {
            **pulled,
            "image": image,
            "replicaCount": replicas,
            "podDisruptionBudget": budget,
            "resources": requests("10m", "128Mi"),
        },
        "certController": {**pulled, "image": image, "resources": requests("10m", "256Mi")},
    }


class ExternalSecrets(pulumi.ComponentResource):
    """The operator. `ready` is what the secret store and every secret depend on; None where the site runs it."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        replicas: int = 1,
        after: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`after` is what its pods need: their identity, and secrets that have a value."""
        super().__init__("falaj:addons:ExternalSecrets", name, None, opts)
        self.ready: pulumi.Resource | None = None
        if not cluster.installed("external-secrets"):
            settings = values(cluster.registry("ghcr.io"), replicas, cluster.pull_secrets(NAMESPACE))
            self.ready = install("external-secrets", cluster, NAMESPACE, settings, parent=self, depends_on=after)
        self.register_outputs({})

"""Envoy Gateway: turns Gateway API objects into the one entrance of the cluster."""

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.addons.chart import Values, install, requests
from infra.substrates.cluster import Cluster, NamespaceSpec

NAMESPACE = NamespaceSpec(name="envoy-gateway-system", webhooks=(9443,))
CLASS = "falaj"
"""The GatewayClass of the platform's Gateway."""
_CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"


def values(registry: str, replicas: int) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for docker.io, for the controller, its proxies and the rate limiter alike.
    """
    return {
        # A proxy's image that is not named is the one compiled into the controller, from docker.io.
        "global": {"imageRegistry": registry, "images": {"envoyProxy": {"image": "docker.io/envoyproxy/envoy"}}},
        "deployment": {"replicas": replicas, "envoyGateway": {"resources": requests("100m", "512Mi")}},
        "podDisruptionBudget": {"minAvailable": 1 if replicas > 1 else 0},
        "config": {
            "envoyGateway": {
                "gateway": {"controllerName": _CONTROLLER},
                "provider": {"type": "Kubernetes"},
                # Lua keeps the session's cookies from backends. All else that a policy could change stays off.
                "extensionApis": {"enableLua": True, "enableEnvoyPatchPolicy": False, "enableBackend": False},
            }
        },
        # The job that makes the controller's certificates is a hook: it is installed like any other object and
        # must stay, or each update would find it gone and make it again.
        "certgen": {"job": {"ttlSecondsAfterFinished": None}},
    }


class EnvoyGateway(pulumi.ComponentResource):
    """The controller, the Gateway API's definitions and the class `falaj`, which every Gateway depends on."""

    def __init__(
        self, name: str, cluster: Cluster, replicas: int = 1, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:addons:EnvoyGateway", name, None, opts)
        needs: list[pulumi.Resource] = []
        if not cluster.installed("envoy-gateway"):
            chart = values(cluster.registry("docker.io"), replicas)
            release = "envoy-gateway"
            needs = [install("gateway-helm", cluster, NAMESPACE, chart, parent=self, release=release, hooks=True)]
        self.gateway_class = CustomResource(
            "gateway-class",
            api_version="gateway.networking.k8s.io/v1",
            kind="GatewayClass",
            metadata=ObjectMetaArgs(name=CLASS),
            spec={"controllerName": _CONTROLLER},
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=needs),
        )
        self.register_outputs({})

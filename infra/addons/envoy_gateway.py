"""Envoy Gateway: turns Gateway API objects into the one entrance of the cluster."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.addons.chart import Values, install, requests
from infra.substrates.cluster import Cluster, NamespaceSpec, object_name

NAMESPACE = NamespaceSpec(name="envoy-gateway-system", callers=("monitoring",), webhooks=(9443,))
CLASS = "falaj"
"""The GatewayClass of the platform's Gateway."""
_CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"


def trust(authority: str) -> tuple[Values, Values]:
    """A volume and its mount: a secret's `ca.crt` in place of the public authorities that the images carry."""
    volume = {"name": "authorities", "secret": {"secretName": object_name(authority)}}
    path = "/etc/ssl/certs/ca-certificates.crt"
    return volume, {"name": "authorities", "mountPath": path, "subPath": "ca.crt", "readOnly": True}


def values(registry: str, replicas: int, pull: Sequence[str] = (), authority: str | None = None) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for docker.io, for the controller, its proxies and the rate limiter alike.
        pull: Names of the secrets that the registry wants.
        authority: Who signs the issuer's certificate, whose discovery document the controller reads; None for a
            public authority.
    """
    mounted = [trust(authority)] if authority is not None else []
    return {
        "global": {
            "imageRegistry": registry,
            # A proxy's image that is not named is the one compiled into the controller, from docker.io.
            "images": {"envoyProxy": {"image": "docker.io/envoyproxy/envoy"}},
            "imagePullSecrets": [{"name": name} for name in pull],
        },
        "deployment": {
            "replicas": replicas,
            "envoyGateway": {"resources": requests("100m", "512Mi")},
            "pod": {
                "extraVolumes": [volume for volume, _ in mounted],
                "extraVolumeMounts": [mount for _, mount in mounted],
            },
        },
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
        "certgen": {"job": {"ttlSecondsAfterFinished": None, "resources": requests("10m", "64Mi")}},
    }


class EnvoyGateway(pulumi.ComponentResource):
    """The controller, the Gateway API's definitions and the class `falaj`, which every Gateway depends on."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        replicas: int = 1,
        authority: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`authority` is the secret with the certificate of whoever signs the issuer's; None for a public one."""
        super().__init__("falaj:addons:EnvoyGateway", name, None, opts)
        needs: list[pulumi.Resource] = []
        if not cluster.installed("envoy-gateway"):
            before = [cluster.namespace(NAMESPACE)]
            if authority is not None:
                before.append(cluster.secret(NAMESPACE.name, authority, {"ca.crt": "ca.crt"}))
            chart = values(cluster.registry("docker.io"), replicas, cluster.pull_secrets(NAMESPACE), authority)
            needs = [
                install(
                    "gateway-helm",
                    cluster,
                    NAMESPACE,
                    chart,
                    parent=self,
                    release="envoy-gateway",
                    depends_on=before,
                    hooks=True,
                )
            ]
        self.gateway_class = CustomResource(
            "gateway-class",
            api_version="gateway.networking.k8s.io/v1",
            kind="GatewayClass",
            metadata=ObjectMetaArgs(name=CLASS),
            spec={"controllerName": _CONTROLLER},
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=needs),
        )
        self.register_outputs({})

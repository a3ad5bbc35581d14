"""KServe: models as InferenceServices, on plain Deployments behind the Gateway API."""

from collections.abc import Sequence

import pulumi

from infra.addons.chart import Values, install, requests
from infra.addons.envoy_gateway import NAMESPACE as ENTRANCE
from infra.addons.pods import pull
from infra.substrates.cluster import Cluster, NamespaceSpec

NAMESPACE = NamespaceSpec(name="kserve", webhooks=(9443,))


def values(docker: str, quay: str, hostname: str, pull_secrets: Sequence[str] = ()) -> Values:
    """Values of the chart `kserve-resources`.

    Args:
        docker: Stands for docker.io.
        quay: Stands for quay.io.
        pull_secrets: Names of the secrets that the registry wants.
    """
    return {
        "kserve": {
            "agent": {"image": f"{docker}/kserve/agent"},
            "router": {"image": f"{docker}/kserve/router"},
            "storage": {"image": f"{docker}/kserve/storage-initializer"},
            "controller": {
                # Weights of a canary are those of our own HTTPRoute: this mode ignores canaryTrafficPercent,
                # and the other would need Knative and a mesh beside the gateway that is there.
                "deploymentMode": "Standard",
                "image": f"{docker}/kserve/kserve-controller",
                "rbacProxyImage": f"{quay}/brancz/kube-rbac-proxy:v0.18.0",
                "imagePullSecrets": pull(pull_secrets),
                "resources": requests("100m", "512Mi"),
                "gateway": {
                    "domain": hostname,
                    "urlScheme": "https",
                    # A model is reached through the platform's own routes, which ask who calls.
                    "disableIngressCreation": True,
                    "disableIstioVirtualHost": True,
                    "ingressGateway": {
                        "enableGatewayApi": True,
                        "createGateway": False,
                        "className": "falaj",
                        "kserveGateway": f"{ENTRANCE.name}/falaj",
                    },
                },
            },
        }
    }


class KServe(pulumi.ComponentResource):
    """The definitions and the controller. `ready` is what every runtime and InferenceService depends on."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        hostname: str,
        needs: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`needs` are cert-manager, which makes the webhook's certificate, and what defines the Gateway API."""
        super().__init__("falaj:addons:KServe", name, None, opts)
        definitions = install("kserve-crd", cluster, NAMESPACE, {}, parent=self)
        pulled = cluster.pull_secrets(NAMESPACE)
        settings = values(cluster.registry("docker.io"), cluster.registry("quay.io"), hostname, pulled)
        self.ready = install(
            "kserve-resources", cluster, NAMESPACE, settings, parent=self, depends_on=[definitions, *needs]
        )
        self.register_outputs({})

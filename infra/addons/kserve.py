"""KServe: models as InferenceServices, on plain Deployments behind the Gateway API, with our runtime."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from infra.addons.chart import Values, install, requests
from infra.addons.envoy_gateway import NAMESPACE as ENTRANCE
from infra.substrates.cluster import Cluster, NamespaceSpec

NAMESPACE = NamespaceSpec(name="kserve", webhooks=(9443,))
RUNTIME = "falaj-onnx"
_PORT = 8080


def values(docker: str, quay: str, hostname: str) -> Values:
    """Values of the chart `kserve-resources`.

    Args:
        docker: Stands for docker.io.
        quay: Stands for quay.io.
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


def runtime(image: str, pull: Sequence[str] = ()) -> Values:
    """Specification of our runtime: an InferenceService names it, and its `storageUri` is a model repository.

    Args:
        pull: Names of the secrets that the registry wants.
    """
    container = {
        "name": "kserve-container",
        "image": image,
        "command": ["python", "-m", "serving.runtime"],
        "args": [
            "--host=0.0.0.0",
            f"--http-port={_PORT}",
            "--model-repository=/mnt/models",
            "--inference-log=/tmp/log",
        ],
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": _PORT}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": _PORT}, "periodSeconds": 10},
        "resources": requests("1", "2Gi"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108
    }
    return {
        "supportedModelFormats": [{"name": "onnx", "version": "1", "autoSelect": False}],
        "protocolVersions": ["v2"],
        "multiModel": False,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "imagePullSecrets": [{"name": name} for name in pull],
    }


class KServe(pulumi.ComponentResource):
    """The definitions, the controller and our runtime. `runtime` is what every InferenceService depends on."""

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
        settings = values(cluster.registry("docker.io"), cluster.registry("quay.io"), hostname)
        controller = install(
            "kserve-resources", cluster, NAMESPACE, settings, parent=self, depends_on=[definitions, *needs]
        )
        self.runtime = CustomResource(
            RUNTIME,
            api_version="serving.kserve.io/v1alpha1",
            kind="ClusterServingRuntime",
            metadata=ObjectMetaArgs(name=RUNTIME),
            spec=runtime(cluster.image(pins().image("platform"))),
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=[controller]),
        )
        self.register_outputs({})

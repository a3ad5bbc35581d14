"""Models on KServe: our runtime, a version each as an InferenceService, and the weights between versions.

In KServe's mode Standard `canaryTrafficPercent` does nothing, so that the weights are those of a route of ours
through the gateway, to the Service that KServe makes of each version. The runtime reads the stack's model store and
writes its inference log by itself, so that an InferenceService has no `storageUri`.
"""

from collections.abc import Sequence
from typing import Any, cast

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from core.pins import pins
from infra.addons.chart import Values, requests
from infra.addons.monitoring import NAMESPACE as MONITORING
from infra.addons.pods import RESTRICTED, bring, files, pull, secret_variables
from infra.config.nodes import GPU_RESOURCE
from infra.config.platform import ModelVersion, ServedModel, Serving
from infra.substrates.base import INFERENCE_LOG, MODELS, Signal
from infra.substrates.cluster import (
    USER,
    Access,
    Backend,
    Cluster,
    ClusterRoute,
    IdentitySpec,
    NamespaceSpec,
    Placement,
)

NAMESPACE = "serving"
RUNTIME = "falaj-onnx"
GPU_RUNTIME = "falaj-onnx-gpu"
_ACCOUNT = "models"
_PORT = 8080
REPOSITORY = "FALAJ_MODEL_REPOSITORY"
"""Tells the runtime where its models are."""


def namespace(settings: Serving) -> NamespaceSpec:
    """Where models run: what they may request together, and Prometheus as the only caller beside the gateway."""
    return NamespaceSpec(name=NAMESPACE, quota=settings.quota, callers=(MONITORING.name,), isolated=True)


def runtime(image: str, provider: str, log: str, access: Access, pull_secrets: Sequence[str]) -> Values:
    """Specification of our runtime, which an InferenceService names.

    Args:
        provider: What graphs run on, `cpu` or `cuda`; a pod that finds no GPU where it should is not ready.
        log: Address of the inference log.
        access: To the stores of models and of the log.
        pull_secrets: Names of the secrets that the registry wants.
    """
    volumes, mounts = files(access.files)
    variables = [{"name": name, "value": value} for name, value in sorted(access.environment.items())]
    container = {
        "name": "kserve-container",
        "image": image,
        "command": ["python", "-m", "serving.runtime"],
        "args": [
            "--host=0.0.0.0",
            f"--http-port={_PORT}",
            f"--provider={provider}",
            f"--inference-log={log}",
            "--log-spool=/tmp/log",
        ],
        "env": [*variables, {"name": "HOME", "value": "/tmp"}, *secret_variables(access.secrets)],  # noqa: S108
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": _PORT}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/v2/health/live", "port": _PORT}, "periodSeconds": 10},
        "resources": requests("1", "2Gi"),
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}, *mounts],  # noqa: S108
    }
    return {
        "supportedModelFormats": [{"name": "onnx", "version": "1", "autoSelect": False}],
        "protocolVersions": ["v2"],
        "multiModel": False,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
        "imagePullSecrets": pull(pull_secrets),
    }


def service(model: str, version: str) -> str:
    """What KServe calls the Service and the Deployment of a version."""
    return f"{model}-{version}-predictor"


def pods(model: str, version: str) -> dict[str, str]:
    """Labels that KServe gives to a version's pods."""
    return {"app": f"isvc.{service(model, version)}"}


def metadata(model: str, version: str, settings: ModelVersion, signals: Sequence[Signal] = ()) -> ObjectMetaArgs:
    """Name of a version's InferenceService, and what it says of itself: that it has no address of its own beside
    the gateway's, which card describes it, and who scales it."""
    return ObjectMetaArgs(
        name=f"{model}-{version}",
        namespace=NAMESPACE,
        labels={"networking.kserve.io/visibility": "cluster-local"},
        annotations={
            **({"falaj.ae/model-card": settings.card} if settings.card is not None else {}),
            **({"serving.kserve.io/autoscalerClass": "keda"} if signals else {}),
        }
        or None,
    )


def scale(name: str, version: ModelVersion, signals: Sequence[Signal]) -> Values:
    """How replicas of a version follow its load: by KServe's own autoscaler on CPU, or by the ScaledObject that KServe
    makes for KEDA. One of ours would come before the Deployment, which KServe makes, and KEDA would refuse it.

    Args:
        name: Of the version's Deployment.
    """
    bounds = {"minReplicas": version.replicas.minimum, "maxReplicas": version.replicas.maximum}
    if not signals:
        return bounds | {"scaleMetric": "cpu", "scaleTarget": version.replicas.target_cpu}
    use = {"type": "Utilization", "averageUtilization": version.replicas.target_cpu}
    read = [
        {
            "type": "External",
            "external": {
                "metric": {
                    "backend": "prometheus",
                    "serverAddress": signal.server,
                    "query": signal.query(NAMESPACE, name),
                },
                # KServe takes no other kind; KEDA divides by the replicas all the same, unless it is told not to.
                "target": {"type": "Value", "value": signal.target},
            },
        }
        for signal in signals
    ]
    return bounds | {
        "autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": use}}, *read]}
    }


def inference_service(
    name: str, version: ModelVersion, repository: str, placement: Placement, signals: Sequence[Signal]
) -> Values:
    """Specification of the InferenceService of a version.

    Args:
        name: Of its Deployment.
        repository: Address of the model store.
    """
    size = version.size
    gpus = {GPU_RESOURCE: str(size.gpus)} if size.gpus else {}
    memory = f"{size.memory_mib}Mi"
    return {
        "predictor": {
            "serviceAccountName": _ACCOUNT,
            "automountServiceAccountToken": False,
            **scale(name, version, signals),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **placement.document(),
            "model": {
                "modelFormat": {"name": "onnx"},
                "runtime": GPU_RUNTIME if size.gpus else RUNTIME,
                "protocolVersion": "v2",
                "env": [{"name": REPOSITORY, "value": f"{repository.rstrip('/')}/{version.repository}"}],
                "resources": {
                    "requests": {"cpu": f"{round(1000 * size.cpu)}m", "memory": memory, **gpus},
                    "limits": {"memory": memory, **gpus},
                },
            },
        }
    }


def route(name: str, model: ServedModel) -> ClusterRoute:
    """Where a model answers the Open Inference Protocol, and how its versions share the requests."""
    return ClusterRoute(
        name=f"model-{name}",
        namespace=NAMESPACE,
        prefixes=[f"/serving/{NAMESPACE}/{name}/"],
        backends=[
            Backend(
                service=service(name, version),
                port=80,
                pods=pods(name, version),
                pod_port=_PORT,
                weight=settings.weight,
            )
            for version, settings in sorted(model.versions.items())
        ],
        rewrite="/",
    )


class Models(pulumi.ComponentResource):
    """The namespace of models, what runs them, and those that the stack's file names."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        settings: Serving,
        needs: Sequence[pulumi.Resource],
        monitors: pulumi.Resource | None,
        signals: Sequence[Signal] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`needs` is KServe's controller, `monitors` what defines PodMonitor; None where nothing reads metrics.
        `signals` are what versions are scaled by beside their CPU."""
        super().__init__("falaj:addons:Models", name, None, opts)
        self._cluster = cluster
        self._signals = signals
        spec = namespace(settings)
        made = cluster.namespace(spec)
        identity = IdentitySpec(namespace=NAMESPACE, account=_ACCOUNT, reads=[MODELS], writes=[INFERENCE_LOG])
        account = ServiceAccount(
            f"{NAMESPACE}/{_ACCOUNT}",
            metadata=ObjectMetaArgs(name=_ACCOUNT, namespace=NAMESPACE),
            automount_service_account_token=False,
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=[made]),
        )
        access = cluster.access([MODELS, INFERENCE_LOG])
        log = cluster.uri(INFERENCE_LOG)
        before = [account, cluster.identity(identity), *bring(cluster, NAMESPACE, access)]
        pulled = cluster.pull_secrets(spec)
        runtimes = {RUNTIME: ("platform", "cpu")}
        if settings.gpu_pool is not None:
            runtimes[GPU_RUNTIME] = ("platform-gpu", "cuda")
        before += [
            self._custom(
                runs,
                "serving.kserve.io/v1alpha1",
                "ClusterServingRuntime",
                runtime(cluster.image(pins().image(image)), provider, log, access, pulled),
                needs,
                ObjectMetaArgs(name=runs),
            )
            for runs, (image, provider) in runtimes.items()
        ]
        if monitors is not None:
            selector = {"matchExpressions": [{"key": "serving.kserve.io/inferenceservice", "operator": "Exists"}]}
            endpoint = {"portNumber": _PORT, "path": "/metrics", "filterRunning": True}
            watched = {"selector": selector, "podMetricsEndpoints": [endpoint]}
            self._custom("models", "monitoring.coreos.com/v1", "PodMonitor", watched, [made, monitors])
        for model, served in sorted(settings.models.items()):
            for version, parts in sorted(served.versions.items()):
                self._deploy(model, version, parts, settings, before)
            cluster.route(route(model, served))
        self.register_outputs({})

    def _deploy(
        self, model: str, version: str, parts: ModelVersion, settings: Serving, before: Sequence[pulumi.Resource]
    ) -> None:
        placed = self._cluster.placement("inference", settings.gpu_pool if parts.size.gpus else settings.pool)
        repository = self._cluster.uri(MODELS)
        spec = inference_service(service(model, version), parts, repository, placed, self._signals)
        name = f"{model}-{version}"
        described = metadata(model, version, parts, self._signals)
        made = self._custom(name, "serving.kserve.io/v1beta1", "InferenceService", spec, before, described)
        if parts.replicas.minimum > 1:
            PodDisruptionBudget(
                f"{NAMESPACE}/{name}",
                metadata=ObjectMetaArgs(name=name, namespace=NAMESPACE),
                spec=cast(Any, {"maxUnavailable": 1, "selector": {"matchLabels": pods(model, version)}}),
                opts=pulumi.ResourceOptions(parent=made, provider=self._cluster.provider),
            )

    def _custom(
        self,
        name: str,
        version: str,
        kind: str,
        spec: Values,
        needs: Sequence[pulumi.Resource],
        metadata: ObjectMetaArgs | None = None,
    ) -> CustomResource:
        return CustomResource(
            name,
            api_version=version,
            kind=kind,
            metadata=metadata or ObjectMetaArgs(name=name, namespace=NAMESPACE),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, provider=self._cluster.provider, depends_on=list(needs)),
        )

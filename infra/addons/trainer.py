"""Kubeflow Trainer: PyTorch on several machines at once, with our image, on one pool, within a quota."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from infra.addons import connections, limits, rights
from infra.addons.chart import Values, install, requests
from infra.addons.connections import Connection
from infra.addons.limits import Rule
from infra.addons.pods import RESTRICTED, bring, files, pull, secret_variables
from infra.config.nodes import GPU_RESOURCE
from infra.config.platform import Training
from infra.config.services import Size
from infra.substrates.base import OFFLINE_FEATURES, PIPELINE_ARTIFACTS
from infra.substrates.cluster import USER, Access, Cluster, IdentitySpec, NamespaceSpec, Placement

NAMESPACE = NamespaceSpec(name="kubeflow-trainer", webhooks=(9443,))
JOBS = "training"
ACCOUNT = "trainer"
RUNTIME = "falaj-torch"
READS = (OFFLINE_FEATURES,)
WRITES = (PIPELINE_ARTIFACTS,)
_GROUP = "trainer.kubeflow.org"
_KEEP_SECONDS = 3 * 86_400
"""How long a finished job's pods stay, for their logs."""


def jobs(settings: Training) -> NamespaceSpec:
    """Where training jobs run."""
    return NamespaceSpec(name=JOBS, quota=settings.quota)


def values(ghcr: str, kubernetes: str, placement: Placement, replicas: int, pull_secrets: Sequence[str] = ()) -> Values:
    """Values of the chart, with those of JobSet, which makes the jobs' pods.

    Args:
        ghcr: Host that stands for ghcr.io.
        kubernetes: Stands for registry.k8s.io.
        replicas: Of both controllers, without which no job can be made.
    """
    where = placement.document()
    secrets = pull(pull_secrets)
    return {
        "image": {"registry": ghcr, "pullSecrets": secrets},
        "manager": {"replicas": replicas, **where, "resources": requests("50m", "256Mi")},
        "jobset": {
            "image": {
                "repository": f"{kubernetes}/jobset/jobset",
                "pullPolicy": "IfNotPresent",
                "pullSecrets": secrets,
            },
            "controller": {"replicas": replicas, **where, "resources": requests("50m", "256Mi")},
        },
    }


def runtime(
    image: str,
    worker: Size,
    workers: int,
    placement: Placement,
    access: Access,
    pull_secrets: Sequence[str] = (),
) -> Values:
    """Specification of our ClusterTrainingRuntime: a TrainJob names it, and says its command and how many nodes.

    Args:
        workers: Nodes of a job that does not say.
        access: To the stores that a job's account may use.
    """
    size = requests(f"{worker.cpu:g}", f"{worker.memory_mib}Mi")
    gpus = {GPU_RESOURCE: str(worker.gpus)} if worker.gpus else {}
    volumes, mounts = files(access.files)
    plain = [{"name": name, "value": value} for name, value in sorted(access.environment.items())]
    container = {
        "name": "node",
        "image": image,
        "env": [{"name": "HOME", "value": "/tmp"}, *plain, *secret_variables(access.secrets)],  # noqa: S108
        "resources": {"requests": {**size["requests"], **gpus}, "limits": {**size["limits"], **gpus}},
        "securityContext": {**RESTRICTED, "runAsUser": USER},
        "volumeMounts": [
            *mounts,
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            # Processes of one node pass tensors through it.
            {"name": "shared", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }
    pod = {
        **placement.document(),
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "falaj-batch",
        "imagePullSecrets": pull(pull_secrets),
        "securityContext": {"fsGroup": USER, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            *volumes,
            {"name": "tmp", "emptyDir": {}},
            {"name": "shared", "emptyDir": {"medium": "Memory", "sizeLimit": f"{worker.memory_mib // 2}Mi"}},
        ],
    }
    job = {
        "name": "node",
        "template": {
            "metadata": {"labels": {f"{_GROUP}/trainjob-ancestor-step": "trainer"}},
            "spec": {"template": {"spec": pod}},
        },
    }
    return {
        "mlPolicy": {"numNodes": workers, "torch": {}},
        "template": {"spec": {"ttlSecondsAfterFinished": _KEEP_SECONDS, "replicatedJobs": [job]}},
    }


def most(workers: int) -> list[Rule]:
    """No job takes more nodes than one may."""
    return [
        Rule(
            expression=f"!has(object.spec.trainer) || !has(object.spec.trainer.numNodes) || "
            f"object.spec.trainer.numNodes <= {workers}",
            message=f"spec.trainer.numNodes is above {workers}: ask for fewer, or raise training.workers of the stack",
        )
    ]


class Trainer(pulumi.ComponentResource):
    """The controllers, our runtime, and the namespace of its jobs. `ready` is what a TrainJob depends on."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        settings: Training,
        services: Sequence[str],
        replicas: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`services` are names of our workloads that jobs call; they run already."""
        super().__init__("falaj:addons:Trainer", name, None, opts)
        where = cluster.placement("services")
        chart = values(
            cluster.registry("ghcr.io"),
            cluster.registry("registry.k8s.io"),
            where,
            replicas,
            cluster.pull_secrets(NAMESPACE),
        )
        controllers = install("kubeflow-trainer", cluster, NAMESPACE, chart, parent=self)
        namespace = jobs(settings)
        within = cluster.namespace(namespace)
        options = pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=[within])
        account = ServiceAccount(
            f"{JOBS}/{ACCOUNT}",
            metadata=ObjectMetaArgs(name=ACCOUNT, namespace=JOBS),
            automount_service_account_token=False,
            opts=options,
        )
        access = cluster.access([*READS, *WRITES])
        secrets = cluster.pull_secrets(namespace)
        needs = [
            controllers,
            account,
            cluster.identity(IdentitySpec(namespace=JOBS, account=ACCOUNT, reads=READS, writes=WRITES)),
            *bring(cluster, JOBS, access),
            *connections.declare(
                cluster,
                namespace,
                connections.documents([Connection(name="workers", caller={}, callee={}, ports=())], {}, [], {}),
                self,
            ),
        ]
        cluster.connect(JOBS, {}, services)
        image = cluster.image(pins().image("platform-gpu" if settings.worker.gpus else "platform"))
        placement = cluster.placement("training", settings.pool)
        self.ready = CustomResource(
            RUNTIME,
            api_version=f"{_GROUP}/v1alpha1",
            kind="ClusterTrainingRuntime",
            metadata=ObjectMetaArgs(name=RUNTIME, labels={f"{_GROUP}/framework": "torch"}),
            spec=runtime(image, settings.worker, settings.workers, placement, access, secrets),
            opts=pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=needs)),
        )
        spec = limits.policy(_GROUP, ["v1alpha1"], ["trainjobs"], most(settings.workers))
        limits.declare(cluster, "training-workers", namespace, spec, self, [controllers])
        rights.submit(cluster, namespace, _GROUP, ["trainjobs"], self)
        self.register_outputs({})

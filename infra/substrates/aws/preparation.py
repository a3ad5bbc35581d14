"""The jobs that make users and rights inside the stores, before anything that uses one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.batch.v1 import Job
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from core.pins import pins
from infra.config.platform import Quota
from infra.substrates.aws.pods import POD_IDENTITY
from infra.substrates.cluster import USER, NamespaceSpec
from infra.substrates.kubernetes import policies
from infra.substrates.kubernetes.bindings import Destination
from infra.substrates.kubernetes.substrate import KubernetesSubstrate
from infra.substrates.kubernetes.workload import labels

# A namespace of its own: whoever may start pods beside a job could take its account, and with it every store.
NAMESPACE = NamespaceSpec(name="preparation", quota=Quota(cpu=1, memory_gib=1, pods=4))
_SECONDS = 900
_ATTEMPTS = 3
_MEMORY = "256Mi"
_SERVICES = Destination(cidrs=["0.0.0.0/0"], ports=[443])
"""Services of the region, which answer from the VPC's endpoints or from public addresses."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job to be done once for each change of what it is told.

    Attributes:
        name: Of the job and its service account.
        module: Of the platform's image, run as a program.
        variable: Tells it `document`.
        destinations: Where its pod must be let out to, beside the services of the region.
        needs: What must be there, such as its role.
    """

    name: str
    module: str
    variable: str
    document: pulumi.Input[str]
    destinations: Sequence[Destination]
    needs: Sequence[pulumi.Resource]


class Preparation(pulumi.ComponentResource):
    """Runs the tasks side by side. `ready` is there once each has succeeded."""

    def __init__(
        self,
        name: str,
        substrate: KubernetesSubstrate,
        tasks: Sequence[Task],
        region: str,
        after: Sequence[pulumi.Resource],
        opts: ResourceOptions | None = None,
    ) -> None:
        """`after` is what pods need in order to run."""
        super().__init__("falaj:aws:Preparation", name, None, opts)
        self._substrate, self._region, self._after = substrate, region, after
        self._namespace = substrate.namespace(NAMESPACE)
        self.ready: list[pulumi.Resource] = [self._job(task) for task in tasks]
        self.register_outputs({})

    def _job(self, task: Task) -> Job:
        substrate = self._substrate
        options = ResourceOptions(parent=self, provider=substrate.provider, depends_on=[self._namespace])
        metadata = ObjectMetaArgs(name=task.name, namespace=NAMESPACE.name, labels=labels(task.name))
        account = ServiceAccount(task.name, metadata=metadata, automount_service_account_token=False, opts=options)
        out = [*task.destinations, _SERVICES, POD_IDENTITY]
        way = NetworkPolicy(
            f"{NAMESPACE.name}/{task.name}",
            metadata=ObjectMetaArgs(name=task.name, namespace=NAMESPACE.name),
            spec=cast(Any, policies.egress(labels(task.name), [policies.to(destination) for destination in out])),
            opts=options,
        )
        image = substrate.image(pins().image("platform"))
        placement = substrate.placement("services").document()
        return Job(
            task.name,
            metadata=metadata,
            spec=cast(Any, job(task, self._region, image, placement)),
            opts=ResourceOptions.merge(options, ResourceOptions(depends_on=[account, way, *task.needs, *self._after])),
        )


def job(task: Task, region: str, image: str, placement: Mapping[str, Any]) -> dict[str, Any]:
    """The job's specification: one pod, tried again a few times, kept when done so that its log can be read."""
    # botocore reads this variable alone for the region.
    variables = {"HOME": "/tmp", "AWS_DEFAULT_REGION": region, task.variable: task.document}  # noqa: S108
    container = {
        "name": task.name,
        "image": image,
        "command": ["python", "-m", task.module],
        "env": [{"name": name, "value": value} for name, value in sorted(variables.items())],
        "resources": {"requests": {"cpu": "100m", "memory": _MEMORY}, "limits": {"cpu": "1", "memory": _MEMORY}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod = {
        "serviceAccountName": task.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **placement,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    return {
        "backoffLimit": _ATTEMPTS,
        "activeDeadlineSeconds": _SECONDS,
        "template": {"metadata": {"labels": labels(task.name)}, "spec": pod},
    }

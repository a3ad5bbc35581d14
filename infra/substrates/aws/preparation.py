"""The job that makes the users of the databases, before anything that uses one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import secretsmanager
from pulumi_kubernetes.batch.v1 import Job
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from core.databases import VARIABLE
from core.pins import pins
from infra.config.platform import Quota
from infra.substrates.aws.account import Account
from infra.substrates.aws.databases import AUTHORITY, Database
from infra.substrates.aws.secrets import secret_name
from infra.substrates.cluster import IdentitySpec, NamespaceSpec, Permission
from infra.substrates.kubernetes import policies
from infra.substrates.kubernetes.bindings import Destination
from infra.substrates.kubernetes.substrate import KubernetesSubstrate
from infra.substrates.kubernetes.workload import USER

# A namespace of its own: whoever may start pods beside it could take its account, and with it every database.
NAMESPACE = NamespaceSpec(name="databases", quota=Quota(cpu=1, memory_gib=1, pods=2))
_NAME = "databases"
_SECONDS = 600
_ATTEMPTS = 3
_SERVICES = Destination(cidrs=["0.0.0.0/0"], ports=[443])
"""Secrets Manager, which answers from the VPC's endpoint or from public addresses of the region."""
_CREDENTIALS = Destination(cidrs=["169.254.170.23/32"], ports=[80])


@dataclass(frozen=True, kw_only=True)
class PreparationArgs:
    """What the job is made of.

    Attributes:
        databases: Whose users it makes.
        keys: Empty secrets, by name, that it puts a random key into.
        encryption: ARNs of the keys of all these secrets.
        isolated: CIDRs of the subnets of the databases.
        after: What must run before pods can.
    """

    account: Account
    databases: Sequence[Database]
    keys: Mapping[str, secretsmanager.Secret]
    encryption: Sequence[pulumi.Input[str]]
    isolated: Sequence[str]
    after: Sequence[pulumi.Resource]


class Preparation(pulumi.ComponentResource):
    """Runs `core.databases` once for each change of what it is to make. `ready` is there once it has succeeded."""

    def __init__(
        self, name: str, substrate: KubernetesSubstrate, args: PreparationArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Preparation", name, None, opts)
        options = ResourceOptions(parent=self, provider=substrate.provider)
        namespace = substrate.namespace(NAMESPACE)
        metadata = ObjectMetaArgs(name=_NAME, namespace=NAMESPACE.name, labels={"app.kubernetes.io/part-of": "falaj"})
        inside = ResourceOptions.merge(options, ResourceOptions(depends_on=[namespace]))
        account = ServiceAccount(_NAME, metadata=metadata, automount_service_account_token=False, opts=inside)
        rights = substrate.identity(
            IdentitySpec(namespace=NAMESPACE.name, account=_NAME, permissions=_permissions(args))
        )
        ports = sorted({database.port for database in args.databases})
        out = [Destination(cidrs=list(args.isolated), ports=ports), _SERVICES, _CREDENTIALS]
        way = NetworkPolicy(
            f"{NAMESPACE.name}/out",
            metadata=ObjectMetaArgs(name="out", namespace=NAMESPACE.name),
            spec=cast(Any, policies.egress({}, [policies.to(destination) for destination in out])),
            opts=inside,
        )
        instances = [database.instance for database in args.databases]
        placement = substrate.placement("services").document()
        self.ready: pulumi.Resource = Job(
            _NAME,
            metadata=metadata,
            spec=cast(Any, job(document(args), args.account, substrate.image(pins().image("platform")), placement)),
            opts=ResourceOptions.merge(
                options, ResourceOptions(depends_on=[account, rights, way, *instances, *args.after])
            ),
        )
        self.register_outputs({})


def document(args: PreparationArgs) -> pulumi.Output[str]:
    """What `core.databases` reads."""
    servers = [
        {
            "engine": database.engine,
            "host": database.instance.address,
            "port": database.port,
            "authority": AUTHORITY,
            "master": database.master,
            "logins": [
                {
                    "secret": secret_name(args.account, login.name),
                    "user": login.user,
                    "databases": list(login.databases),
                }
                for login in database.logins
            ],
        }
        for database in args.databases
    ]
    return pulumi.Output.json_dumps(
        {"servers": servers, "keys": [secret_name(args.account, name) for name in sorted(args.keys)]}
    )


def job(document: pulumi.Input[str], account: Account, image: str, placement: Mapping[str, Any]) -> dict[str, Any]:
    """The job's specification: one pod, tried again a few times, kept when done so that its log can be read."""
    variables = {"HOME": "/tmp", "AWS_REGION": account.region, VARIABLE: document}  # noqa: S108
    container = {
        "name": _NAME,
        "image": image,
        "command": ["python", "-m", "core.databases"],
        "env": [{"name": name, "value": value} for name, value in sorted(variables.items())],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod = {
        "serviceAccountName": _NAME,
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
    labels = {"app.kubernetes.io/name": _NAME, "app.kubernetes.io/part-of": "falaj"}
    return {
        "backoffLimit": _ATTEMPTS,
        "activeDeadlineSeconds": _SECONDS,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }


def _permissions(args: PreparationArgs) -> list[Permission]:
    """It reads the first users' passwords, and fills the secrets that are its own to fill."""
    filled = [secret.arn for database in args.databases for secret in database.secrets.values()]
    filled += [secret.arn for secret in args.keys.values()]
    through = {"StringEquals": {"kms:ViaService": [f"secretsmanager.{args.account.region}.amazonaws.com"]}}
    return [
        Permission(
            actions=["secretsmanager:GetSecretValue"], resources=[database.master for database in args.databases]
        ),
        Permission(
            actions=[
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
                "secretsmanager:PutSecretValue",
            ],
            resources=filled,
        ),
        Permission(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=list(args.encryption), condition=through),
    ]

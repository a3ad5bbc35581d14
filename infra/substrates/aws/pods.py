"""Roles of pods, through EKS Pod Identity."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import eks, iam

from infra.substrates.aws.account import Account, pod_trust, policy
from infra.substrates.kubernetes.bindings import Destination

POD_IDENTITY = Destination(cidrs=["169.254.170.23/32"], ports=[80])
"""The agent on the node that hands a pod the credentials of its role."""
_ROLE_LENGTH = 64


@dataclass(frozen=True)
class PodRole:
    """`ready` must be there before the pods are: they learn of their role when they are created."""

    role: iam.Role
    ready: pulumi.Resource


def pod_role(
    namespace: str,
    service_account: str,
    statements: Sequence[Mapping[str, Any]],
    account: Account,
    cluster: pulumi.Input[str],
    parent: pulumi.Resource,
) -> PodRole:
    """The role of a service account.

    Args:
        statements: Of its policy.
        cluster: Name of the cluster, once it is there.
    """
    name = f"{namespace}-{service_account}"
    options = ResourceOptions(parent=parent)
    role = iam.Role(
        name,
        name=role_name(account, namespace, service_account),
        description=f"{namespace}/{service_account} of {account.prefix}",
        assume_role_policy=pod_trust(namespace, service_account, account),
        opts=options,
    )
    allowed = iam.RolePolicy(name, name="rights", role=role.name, policy=policy(statements), opts=options)
    association = eks.PodIdentityAssociation(
        name,
        cluster_name=cluster,
        namespace=namespace,
        service_account=service_account,
        role_arn=role.arn,
        opts=ResourceOptions(parent=parent, depends_on=[allowed]),
    )
    return PodRole(role, association)


def role_name(account: Account, namespace: str, service_account: str) -> str:
    """Name of a service account's role."""
    return fitted(f"{account.prefix}-{namespace}-{service_account}", _ROLE_LENGTH)


def fitted(name: str, length: int) -> str:
    """A name of at most so many characters, and still of its own."""
    if len(name) <= length:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: length - 9]}-{digest}"

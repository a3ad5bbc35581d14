"""IAM roles of service accounts: exactly what they declare, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.config.model import DataClass
from infra.substrates.aws.account import Account
from infra.substrates.aws.buckets import bucket_arn
from infra.substrates.aws.permissions import narrow
from infra.substrates.aws.pods import pod_role
from infra.substrates.base import Store
from infra.substrates.cluster import IdentitySpec

_READ = ("kms:Decrypt",)
_WRITE = ("kms:Decrypt", "kms:GenerateDataKey")


@dataclass(frozen=True, kw_only=True)
class StoreRights:
    """What rights on stores are made of.

    Attributes:
        keys: ARN of the key of each class.
    """

    account: Account
    keys: Mapping[DataClass, pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class IdentitiesArgs:
    """What identities are made of.

    Attributes:
        cluster: Name of the cluster, once it is there.
    """

    rights: StoreRights
    cluster: pulumi.Input[str]


class Identities:
    """Binds service accounts to roles, through EKS Pod Identity."""

    def __init__(self, args: IdentitiesArgs) -> None:
        self._args = args

    def bind(self, identity: IdentitySpec, parent: pulumi.Resource) -> pulumi.Resource | None:
        """Make the role of a service account; None where it declares no rights outside the cluster.

        Raises:
            ConfigError: A permission is wider than it has to be.
        """
        statements = document(identity, self._args.rights)
        if not statements:
            return None
        account = self._args.rights.account
        made = pod_role(identity.namespace, identity.account, statements, account, self._args.cluster, parent)
        return made.ready


def document(identity: IdentitySpec, rights: StoreRights) -> list[dict[str, Any]]:
    """The statements of a service account's policy, in an order of their own.

    Raises:
        ConfigError: A permission is wider than it has to be.
    """
    written = {store.name for store in identity.writes}
    access = {store.name: (store, store.name in written) for store in (*identity.reads, *identity.writes)}
    statements: list[dict[str, Any]] = []
    used: dict[DataClass, bool] = {}
    for name in sorted(access):
        store, writes = access[name]
        statements += _store(store, writes, rights)
        if store.kind == "folder":
            used[store.data_class] = used.get(store.data_class, False) or writes
    for data_class in sorted(used):
        actions = _WRITE if used[data_class] else _READ
        service = {"StringEquals": {"kms:ViaService": f"s3.{rights.account.region}.amazonaws.com"}}
        statements.append(_allow(actions, [rights.keys[data_class]], service))
    for permission in identity.permissions:
        resources = narrow(permission, f"{identity.namespace}/{identity.account}")
        statements.append(_allow(sorted(permission.actions), resources, permission.condition))
    return statements


def _store(store: Store, writes: bool, rights: StoreRights) -> list[dict[str, Any]]:
    match store.kind:
        case "folder":
            bucket = bucket_arn(rights.account, store.data_class)
            objects = ["s3:GetObject"]
            if writes:
                objects += ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
                # What is in the audit log stays there.
                objects += [] if store.data_class == "audit" else ["s3:DeleteObject"]
            within = {"StringLike": {"s3:prefix": [store.name, f"{store.name}/*"]}}
            return [
                _allow(sorted(objects), [f"{bucket}/{store.name}/*"]),
                _allow(["s3:ListBucket"], [bucket], within),
                _allow(["s3:GetBucketLocation"], [bucket]),
            ]
        case _:
            # Databases and cache ask for a user's password, and a key is mounted: External Secrets reads all three.
            return []


def _allow(
    actions: Sequence[str], resources: Sequence[pulumi.Input[str]], condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return statement if condition is None else {**statement, "Condition": dict(condition)}

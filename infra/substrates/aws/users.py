"""What `core.databases` is told and may do: the users of the databases and the random keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import secretsmanager

from core.databases import VARIABLE
from infra.substrates.aws.account import Account
from infra.substrates.aws.databases import AUTHORITY, Database
from infra.substrates.aws.preparation import NAMESPACE, Task
from infra.substrates.aws.secrets import secret_name
from infra.substrates.cluster import IdentitySpec, Permission
from infra.substrates.kubernetes.bindings import Destination
from infra.substrates.kubernetes.substrate import KubernetesSubstrate

_NAME = "databases"


@dataclass(frozen=True, kw_only=True)
class UsersArgs:
    """What the task is about.

    Attributes:
        databases: Whose users it makes.
        keys: Empty secrets, by name, that it puts a random key into.
        encryption: ARNs of the keys of all these secrets.
        isolated: CIDRs of the subnets of the databases.
    """

    account: Account
    databases: Sequence[Database]
    keys: Mapping[str, secretsmanager.Secret]
    encryption: Sequence[pulumi.Input[str]]
    isolated: Sequence[str]


def users(substrate: KubernetesSubstrate, args: UsersArgs) -> Task:
    """The task, with its role; the namespace of tasks must be there."""
    spec = IdentitySpec(namespace=NAMESPACE.name, account=_NAME, permissions=permissions(args))
    return Task(
        name=_NAME,
        module="core.databases",
        variable=VARIABLE,
        document=document(args),
        destinations=[
            Destination(cidrs=list(args.isolated), ports=sorted({database.port for database in args.databases}))
        ],
        needs=[substrate.identity(spec), *(database.instance for database in args.databases)],
    )


def document(args: UsersArgs) -> pulumi.Output[str]:
    """What `core.databases` reads; the secrets themselves are not in it."""
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
    keys = [secret_name(args.account, name) for name in sorted(args.keys)]
    return pulumi.Output.json_dumps({"servers": servers, "keys": keys})


def permissions(args: UsersArgs) -> list[Permission]:
    """It reads the first users' passwords, and fills the secrets that are its own to fill."""
    filled = [secret.arn for database in args.databases for secret in database.secrets.values()]
    filled += [secret.arn for secret in args.keys.values()]
    reading = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    through = {"StringEquals": {"kms:ViaService": [f"secretsmanager.{args.account.region}.amazonaws.com"]}}
    return [
        Permission(actions=reading, resources=[database.master for database in args.databases]),
        Permission(actions=[*reading, "secretsmanager:PutSecretValue"], resources=filled),
        Permission(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=list(args.encryption), condition=through),
    ]

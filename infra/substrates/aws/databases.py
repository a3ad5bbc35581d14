"""RDS: PostgreSQL for the registries, MySQL for pipelines that want it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import ec2, rds

from core.pins import pins
from infra.config.aws import Database as DatabaseConfig
from infra.substrates.aws.account import Account
from infra.substrates.aws.logs import log_group
from infra.substrates.aws.network import Network
from infra.substrates.aws.secrets import empty_secret
from infra.substrates.base import Store

Engine = Literal["postgresql", "mysql"]
AUTHORITY = "/app/infra/data/rds-me-central-1.pem"
"""Where the platform's image has the certificates of Amazon's authorities, which sign those of the instances.

They are those of https://truststore.pki.rds.amazonaws.com/me-central-1/me-central-1-bundle.pem.
"""
_MASTER = "falaj"
_PORTS = {"postgresql": 5432, "mysql": 3306}
_LOGS = {"postgresql": ("postgresql", "upgrade"), "mysql": ("error", "slowquery")}


@dataclass(frozen=True, kw_only=True)
class Login:
    """A user of its own, with databases and a secret that no other user has.

    Attributes:
        name: Of the secret, below the stack's prefix, which holds `username` and `password`.
        databases: That it owns.
    """

    name: str
    databases: Sequence[str]

    @classmethod
    def of(cls, store: Store) -> "Login":
        """The user of a store, which has one database."""
        return cls(name=store.name, databases=[database_name(store)])

    @property
    def user(self) -> str:
        """As the server knows it."""
        return self.name.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """What an instance is made of.

    Attributes:
        clients: Id of the security group that may connect.
        key: ARN of the key of its storage, snapshots and secrets.
        logs_key: ARN of the key of its logs.
        logins: Whose secrets are made, empty; `core.databases` fills them and makes the users.
    """

    account: Account
    settings: DatabaseConfig
    engine: Engine
    network: Network
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    logs_key: pulumi.Input[str]
    logins: Sequence[Login]


class Database(pulumi.ComponentResource):
    """An encrypted instance without a way in from outside, over TLS alone.

    RDS itself keeps the password of its first user, in a secret of which `master` is the ARN: no state knows it.
    `secrets` are those of the users of `logins`, by name.
    """

    def __init__(self, name: str, args: DatabaseArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Database", name, None, opts)
        account, settings, engine = args.account, args.settings, args.engine
        options = ResourceOptions(parent=self)
        self.engine: Engine = engine
        self.port = _PORTS[engine]
        self.logins = list(args.logins)
        self.identifier = identifier = f"{account.prefix}-{name}"
        subnets = rds.SubnetGroup(name, name=identifier, subnet_ids=args.network.ids("isolated"), opts=options)
        group: ec2.SecurityGroup = args.network.security_group(
            name, f"{engine}, from the cluster alone", self, {"cluster": args.clients}, self.port
        )
        logs = [
            log_group(f"{name}-{kind}", f"/aws/rds/instance/{identifier}/{kind}", account, args.logs_key, self)
            for kind in _LOGS[engine]
        ]
        self.instance = rds.Instance(
            name,
            identifier=identifier,
            engine="postgres" if engine == "postgresql" else "mysql",
            engine_version=_version(engine),
            engine_lifecycle_support="open-source-rds-extended-support-disabled",
            ca_cert_identifier="rds-ca-rsa2048-g1",
            instance_class=settings.instance_class,
            allocated_storage=settings.storage_gib,
            max_allocated_storage=settings.max_storage_gib,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.key,
            username=_MASTER,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.key,
            port=self.port,
            publicly_accessible=False,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[group.id],
            parameter_group_name=_parameters(name, engine, account, options).name,
            multi_az=settings.multi_az,
            backup_retention_period=settings.backup_days,
            copy_tags_to_snapshot=True,
            delete_automated_backups=False,
            deletion_protection=account.protect,
            skip_final_snapshot=not account.protect,
            final_snapshot_identifier=f"{identifier}-last" if account.protect else None,
            maintenance_window=settings.maintenance,
            auto_minor_version_upgrade=True,
            enabled_cloudwatch_logs_exports=list(_LOGS[engine]),
            tags=account.tags("platform"),
            opts=ResourceOptions.merge(account.kept(self), ResourceOptions(depends_on=logs)),
        )
        self.master: pulumi.Output[str] = self.instance.master_user_secrets[0].secret_arn
        self.secrets = {
            login.name: empty_secret(login.name, f"User {login.user} of {identifier}", account, args.key, self)
            for login in args.logins
        }
        self.register_outputs({"address": self.instance.address})


def database_name(store: Store) -> str:
    """The database of a store."""
    return store.name.replace("-", "_")


def _version(engine: str) -> str:
    versions = pins().versions
    return versions.postgresql if engine == "postgresql" else versions.mysql


def _parameters(name: str, engine: str, account: Account, options: ResourceOptions) -> rds.ParameterGroup:
    """TLS is forced, and who connects is logged."""
    values = (
        {"rds.force_ssl": "1", "log_connections": "1", "log_disconnections": "1", "log_min_duration_statement": "1000"}
        if engine == "postgresql"
        else {"require_secure_transport": "1", "slow_query_log": "1", "long_query_time": "1", "log_output": "FILE"}
    )
    version = _version(engine)
    return rds.ParameterGroup(
        name,
        name=f"{account.prefix}-{name}-{version.replace('.', '-')}",
        family=f"postgres{version.partition('.')[0]}" if engine == "postgresql" else f"mysql{version}",
        parameters=[
            rds.ParameterGroupParameterArgs(name=key, value=value, apply_method="immediate")
            for key, value in sorted(values.items())
        ],
        opts=options,
    )

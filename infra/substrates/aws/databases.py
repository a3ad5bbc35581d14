"""RDS: PostgreSQL for the registries, MySQL for pipelines that want it."""

from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import ec2, rds, secretsmanager
from pulumi_random import RandomPassword

from core.pins import pins
from infra.config.aws import Database as DatabaseConfig
from infra.substrates.aws.account import Account
from infra.substrates.aws.network import Network

_USER = "falaj"
_PORTS = {"postgresql": 5432, "mysql": 3306}
_PASSWORD_LENGTH = 40


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """What an instance is made of.

    Attributes:
        clients: Id of the security group that may connect.
        key: ARN of the key of its storage, snapshots and secret.
    """

    account: Account
    settings: DatabaseConfig
    engine: Literal["postgresql", "mysql"]
    network: Network
    clients: pulumi.Input[str]
    key: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """An encrypted instance without a way in from outside, over TLS alone, and the secret of its first user."""

    def __init__(self, name: str, args: DatabaseArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Database", name, None, opts)
        account, settings, engine = args.account, args.settings, args.engine
        options = ResourceOptions(parent=self)
        self.port = _PORTS[engine]
        subnets = rds.SubnetGroup(
            name, name=f"{account.prefix}-{name}", subnet_ids=args.network.ids("isolated"), opts=options
        )
        group: ec2.SecurityGroup = args.network.security_group(
            name, f"{engine}, from the cluster alone", self, {"cluster": args.clients}, self.port
        )
        password = RandomPassword(name, length=_PASSWORD_LENGTH, special=False, opts=account.kept(self))
        self.instance = rds.Instance(
            name,
            identifier=f"{account.prefix}-{name}",
            engine="postgres" if engine == "postgresql" else "mysql",
            engine_version=_version(engine),
            engine_lifecycle_support="open-source-rds-extended-support-disabled",
            instance_class=settings.instance_class,
            allocated_storage=settings.storage_gib,
            max_allocated_storage=settings.max_storage_gib,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.key,
            db_name=_USER,
            username=_USER,
            password=password.result,
            port=self.port,
            iam_database_authentication_enabled=True,
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
            final_snapshot_identifier=f"{account.prefix}-{name}-last" if account.protect else None,
            maintenance_window=settings.maintenance,
            auto_minor_version_upgrade=True,
            enabled_cloudwatch_logs_exports=(
                ["postgresql", "upgrade"] if engine == "postgresql" else ["error", "slowquery"]
            ),
            tags=account.tags("platform"),
            opts=account.kept(self),
        )
        self.secret = f"{account.prefix}/{name}"
        """Name of the secret that holds `username` and `password`."""
        secret = secretsmanager.Secret(
            name,
            name=self.secret,
            description=f"First user of {account.prefix}-{name}",
            kms_key_id=args.key,
            tags=account.tags("platform"),
            opts=account.kept(self),
        )
        content = pulumi.Output.json_dumps({"username": _USER, "password": password.result})
        self.ready = secretsmanager.SecretVersion(name, secret_id=secret.id, secret_string=content, opts=options)
        self.register_outputs({"address": self.instance.address})


def _version(engine: str) -> str:
    versions = pins().versions
    return versions.postgresql if engine == "postgresql" else versions.mysql


def _parameters(name: str, engine: str, account: Account, options: ResourceOptions) -> rds.ParameterGroup:
    """TLS is forced, and who connects is logged."""
    values = (
        {"rds.force_ssl": "1", "log_connections": "1", "log_disconnections": "1", "log_min_duration_statement": "1000"}
        if engine == "postgresql"
        else {"require_secure_transport": "1", "slow_query_log": "1", "long_query_time": "1"}
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

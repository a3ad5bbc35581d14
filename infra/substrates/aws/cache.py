"""ElastiCache: the online feature store."""

from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import elasticache, secretsmanager
from pulumi_random import RandomPassword

from core.pins import pins
from infra.config.aws import Cache as CacheConfig
from infra.substrates.aws.account import Account
from infra.substrates.aws.network import Network
from infra.substrates.aws.secrets import empty_secret, secret_name

PORT = 6379
_USER = "features"
_PASSWORD_LENGTH = 40
_RIGHTS = "on ~* +@all -@dangerous -@admin +info +cluster|slots +cluster|shards"


@dataclass(frozen=True, kw_only=True)
class CacheArgs:
    """What a cache is made of.

    Attributes:
        clients: Id of the security group that may connect.
        key: ARN of the key of its disks and snapshots.
    """

    account: Account
    settings: CacheConfig
    network: Network
    clients: pulumi.Input[str]
    key: pulumi.Input[str]


class Cache(pulumi.ComponentResource):
    """Shards with replicas, over TLS alone; one user with a password, and a default user that can do nothing."""

    def __init__(self, name: str, args: CacheArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Cache", name, None, opts)
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        self.name = prefix = f"{account.prefix}-{name}"
        subnets = elasticache.SubnetGroup(name, name=prefix, subnet_ids=args.network.ids("isolated"), opts=options)
        group = args.network.security_group(
            name, "Online features, from the cluster alone", self, {"cluster": args.clients}, PORT
        )
        password = RandomPassword(name, length=_PASSWORD_LENGTH, special=False, opts=account.kept(self))
        default = elasticache.User(
            f"{name}-default",
            user_id=f"{prefix}-default",
            user_name="default",
            engine=settings.engine,
            access_string="off ~keys* -@all",
            authentication_mode=elasticache.UserAuthenticationModeArgs(type="no-password-required"),
            opts=options,
        )
        user = elasticache.User(
            name,
            user_id=f"{prefix}-{_USER}",
            user_name=_USER,
            engine=settings.engine,
            access_string=_RIGHTS,
            authentication_mode=elasticache.UserAuthenticationModeArgs(type="password", passwords=[password.result]),
            opts=options,
        )
        users = elasticache.UserGroup(
            name,
            user_group_id=prefix,
            engine=settings.engine,
            user_ids=[default.user_id, user.user_id],
            opts=options,
        )
        versions = pins().versions
        self.clustered = settings.shards > 1
        self.group = elasticache.ReplicationGroup(
            name,
            replication_group_id=prefix,
            description="Online features",
            engine=settings.engine,
            engine_version=versions.valkey if settings.engine == "valkey" else versions.redis,
            node_type=settings.node_type,
            num_node_groups=settings.shards,
            replicas_per_node_group=settings.replicas,
            automatic_failover_enabled=self.clustered or settings.replicas > 0,
            multi_az_enabled=settings.replicas > 0,
            at_rest_encryption_enabled=True,
            kms_key_id=args.key,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            user_group_ids=[users.user_group_id],
            port=PORT,
            subnet_group_name=subnets.name,
            security_group_ids=[group.id],
            snapshot_retention_limit=settings.snapshot_days,
            snapshot_window="21:00-22:00",
            maintenance_window="sun:22:00-sun:23:00",
            auto_minor_version_upgrade=True,
            tags=account.tags("features"),
            opts=account.kept(self),
        )
        self.address = (
            self.group.configuration_endpoint_address if self.clustered else self.group.primary_endpoint_address
        )
        secret = empty_secret(name, f"The user of {prefix}", account, args.key, self, "features")
        self.secret = secret_name(account, name)
        """Name of the secret that holds `username` and `password`."""
        content = pulumi.Output.json_dumps({"username": _USER, "password": password.result})
        self.ready = secretsmanager.SecretVersion(name, secret_id=secret.id, secret_string=content, opts=options)
        self.register_outputs({"address": self.address})

"""The substrate `aws`: EKS and managed stores in me-central-1."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infra.config.model import AllowedCidr, Cidr, Cron, Days, Gib, Model, Name, duplicates, overlap
from infra.config.network import Network
from infra.config.nodes import NodePool, SystemNodes, unoffered
from infra.config.offerings import CacheClass, DatabaseClass, Region, ZoneId

AccountId = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
"""Quote it in YAML: an unquoted number loses its leading zeros."""
RoleArn = Annotated[str, Field(pattern=r"^arn:aws:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$", max_length=600)]
"""A role: people and programs come with roles, there are no users."""

_MOMENT = r"(sun|mon|tue|wed|thu|fri|sat):([01][0-9]|2[0-3]):[0-5][0-9]"


class Access(Model):
    """An access entry of the cluster."""

    role: RoleArn
    """Who."""
    level: Literal["administer", "edit", "view"]
    """`administer` is everything, `edit` all but rights and quotas, `view` all but secrets."""
    namespaces: tuple[Name, ...] = ()
    """Where it holds; empty means everywhere."""


class Cluster(Model):
    """The EKS cluster. Its version is a pin."""

    public_from: tuple[AllowedCidr, ...] = ()
    """Networks that may reach the API from outside the VPC; empty closes the public endpoint."""
    access: tuple[Access, ...] = Field(min_length=1)
    """Who may do what. Whoever creates the cluster has no rights by that."""
    service_cidr: Cidr = "172.20.0.0/16"
    """Addresses of Services; none may lie in the VPC."""
    pods: Annotated[int, Field(ge=20, le=20_000)] = 300
    """Most pods that run at once; the private subnets must have room for them when a zone is lost."""
    extended_support: bool = False
    """Whether the version may outlive its standard support, at six times the price."""

    @model_validator(mode="after")
    def _someone_administers(self) -> Self:
        if not any(entry.level == "administer" and not entry.namespaces for entry in self.access):
            raise ValueError("no entry of access may administer the whole cluster: give one level administer")
        repeated = duplicates(tuple(entry.role for entry in self.access))
        if repeated:
            raise ValueError(f"access names {repeated[0]} twice: write one entry a role")
        return self


class Buckets(Model):
    """S3: raw, curated, features, artifacts, inference logs and audit, each with its own key and retention."""

    noncurrent_days: Days = 30
    """How long what was overwritten or deleted can be had back; part of the time until an erasure is complete."""
    infrequent_days: Annotated[int, Field(ge=30)] | None = 90
    """Age at which raw data and artifacts move to the cheaper class."""
    audit_lock: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    """In COMPLIANCE mode no one at all can delete the audit log before its retention ends."""


class Database(Model):
    """An RDS instance. Its version is a pin."""

    instance_class: DatabaseClass = "db.t4g.medium"
    """Of a family that RDS offers in the region."""
    storage_gib: Annotated[int, Field(ge=20, le=65_536)] = 20
    """At the start."""
    max_storage_gib: Annotated[int, Field(ge=20, le=65_536)] = 100
    """Storage grows by itself up to this."""
    multi_az: bool = False
    """Whether a second instance in another zone takes over by itself."""
    backup_days: Annotated[int, Field(ge=7, le=35)] = 7
    """How far back it can be restored to any moment."""
    maintenance: Annotated[str, Field(pattern=rf"^{_MOMENT}-{_MOMENT}$")] = "sun:22:00-sun:23:00"
    """In UTC."""

    @model_validator(mode="after")
    def _can_grow(self) -> Self:
        if self.max_storage_gib < self.storage_gib:
            raise ValueError(f"max_storage_gib is {self.max_storage_gib}, below storage_gib: raise it")
        return self


class Cache(Model):
    """ElastiCache: the online feature store."""

    engine: Literal["valkey", "redis"] = "valkey"
    """Valkey costs a fifth less and speaks the same protocol."""
    node_type: CacheClass = "cache.t3.small"
    """Holds the features of all entities, and as much again for snapshots."""
    replicas: Annotated[int, Field(ge=0, le=5)] = 0
    """Of each shard. With one or more, a lost node is replaced without a pause."""
    shards: Annotated[int, Field(ge=1, le=90)] = 1
    """Parts that the keys are spread over."""
    snapshot_days: Annotated[int, Field(ge=1, le=35)] = 1
    """How long the daily snapshots are kept."""


class AwsStores(Model):
    """Where data lives."""

    buckets: Buckets = Buckets()
    postgresql: Database = Database()
    """MLflow's and Feast's registries, and the pipelines' metadata."""
    mysql: Database | None = None
    """Required with the pipelines, whose runs no other database can hold."""
    cache: Cache | None = None
    """Required with the feature server."""


class Keys(Model):
    """KMS: one key a data class. None is multi-region, and none leaves the region."""

    rotation_days: Annotated[int, Field(ge=90, le=2560)] = 365
    """Days between rotations."""
    deletion_days: Annotated[int, Field(ge=7, le=30)] = 30
    """How long a deletion can be taken back."""
    administrators: tuple[RoleArn, ...] = ()
    """Roles that may manage keys and not use them; empty leaves it to the account's own policies."""


class Registry(Model):
    """ECR: every image comes from inside the region."""

    mode: Literal["mirror", "pull-through"] = "mirror"
    """`falaj vendor` copies each pinned image, or the registry fetches what is asked for the first time."""
    prefix: Name = "falaj"
    """Of all repositories."""
    scan: Literal["basic", "enhanced"] = "basic"
    """`enhanced` scans again as new weaknesses become known, through Inspector."""
    untagged_days: Days = 14
    """How long an image that no tag names is kept."""


class Security(Model):
    """The account's watchmen. Set one to false where the organisation already runs it for all its accounts."""

    trail: bool = True
    """CloudTrail with validation, to the audit bucket."""
    trail_data_events: bool = False
    """Also each read and write of objects, billed by their number."""
    config_recorder: bool = True
    """AWS Config: what each resource was like, and when."""
    guardduty: bool = True
    """Threats in the trail, the flow logs and name look-ups, the cluster's audit log and S3."""
    guardduty_runtime: bool = False
    """Also inside nodes and pods, billed by virtual CPU."""
    security_hub: bool = True
    """Findings of all services against the CIS and AWS standards."""
    inspector: bool = False
    """Weaknesses in images and machines."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.guardduty_runtime and not self.guardduty:
            raise ValueError("guardduty_runtime needs guardduty: set guardduty to true")
        if self.security_hub and not self.config_recorder:
            raise ValueError("security_hub checks what config_recorder records: set config_recorder to true")
        return self


class Vault(Model):
    """AWS Backup."""

    schedule: Cron = "0 20 * * *"
    """When copies are made, in UTC."""
    keep_days: Days = 35
    """How long a copy is kept."""
    lock: bool = True
    """Whether nothing can be deleted from the vault before its time."""
    lock_grace_days: Annotated[int, Field(ge=3, le=365)] | None = None
    """After it the lock itself can no longer be taken off by anyone; absent means that it can."""


class Kafka(Model):
    """MSK."""

    instance_type: Annotated[str, Field(pattern=r"^kafka\.[a-z0-9]+\.[a-z0-9]+$")] = "kafka.m5.large"
    """Of each broker."""
    brokers_per_zone: Annotated[int, Field(ge=1, le=10)] = 1
    """In each of `substrate.zones`."""
    storage_gib: Gib = 100
    """Of each broker."""


class Search(Model):
    """An OpenSearch domain."""

    instance_type: Annotated[str, Field(pattern=r"^[a-z0-9]+\.[a-z0-9]+\.search$")] = "m6g.large.search"
    """Of each instance."""
    instances: Annotated[int, Field(ge=1, le=30)] = 2
    """Spread over `substrate.zones`."""
    storage_gib: Annotated[int, Field(ge=10, le=16_384)] = 50
    """Of each instance."""


class Aws(Model):
    """EKS and managed stores in one account."""

    kind: Literal["aws"]
    account_id: AccountId
    """Nothing is created in any other account."""
    region: Region = "me-central-1"
    """The only region there is."""
    deploy_role: RoleArn | None = None
    """Assumed by the program; absent means the caller's own rights."""
    zones: tuple[ZoneId, ...] = Field(min_length=2)
    """Zones with subnets, by id. EKS and RDS want two, even where all nodes run in one."""
    network: Network = Network()
    cluster: Cluster
    system: SystemNodes = SystemNodes()
    nodes: Mapping[Name, NodePool] = Field(min_length=1)
    """Karpenter pools by name."""
    stores: AwsStores = AwsStores()
    keys: Keys = Keys()
    registry: Registry = Registry()
    security: Security = Security()
    backup: Vault | None = None
    kafka: Kafka | None = None
    search: Search | None = None

    @model_validator(mode="after")
    def _zones_differ(self) -> Self:
        repeated = duplicates(self.zones)
        if repeated:
            raise ValueError(f"zones names {repeated[0]} twice: name each once")
        return self

    @model_validator(mode="after")
    def _machines_are_offered(self) -> Self:
        pools: dict[str, SystemNodes | NodePool] = {"system": self.system}
        pools |= {f"nodes.{name}": pool for name, pool in self.nodes.items()}
        for key, pool in pools.items():
            strangers = sorted(set(pool.zones or ()) - set(self.zones))
            if strangers:
                raise ValueError(f"{key}.zones has {strangers[0]}, which substrate.zones lacks: add it there")
            fault = unoffered(pool.instance_types, self.zones_of(pool))
            if fault:
                raise ValueError(f"{key}.instance_types: {fault}")
        return self

    @model_validator(mode="after")
    def _addresses_suffice(self) -> Self:
        room = self.network.addresses("private") * (len(self.zones) - 1)
        if room < 2 * self.cluster.pods:
            raise ValueError(
                f"cluster.pods is {self.cluster.pods}, and with a zone lost the private subnets have {room} addresses, "
                "which are given out in blocks: have twice as many, by a shorter network.subnets.private"
            )
        service = ipaddress.ip_network(self.cluster.service_cidr)
        if not 12 <= service.prefixlen <= 24 or not service.is_private:
            raise ValueError(f"cluster.service_cidr is {service}: choose a private network of /12 to /24")
        if overlap(self.cluster.service_cidr, self.network.cidr):
            raise ValueError(f"cluster.service_cidr {service} overlaps network.cidr {self.network.cidr}: change one")
        return self

    @model_validator(mode="after")
    def _stays_in_the_account(self) -> Self:
        roles = [*(entry.role for entry in self.cluster.access), *self.keys.administrators]
        roles += [self.deploy_role] if self.deploy_role else []
        strange = sorted({role for role in roles if role.split(":")[4] != self.account_id})
        if strange:
            raise ValueError(f"{strange[0]} is of another account than account_id {self.account_id}: name a role of it")
        return self

    def zones_of(self, nodes: SystemNodes | NodePool) -> tuple[ZoneId, ...]:
        """Zones in which a pool has nodes."""
        return nodes.zones or self.zones

"""The substrate `aws`, whole: what a stack has in its account, the cluster on it, and what parts ask of both."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.provider import Provider as KubernetesProvider
from pulumi_kubernetes.storage.v1 import StorageClass
from pulumi_random import Provider as RandomProvider

from core.errors import ConfigError
from core.pins import pins
from infra.config import Aws, StackConfig
from infra.config.model import DataClass
from infra.substrates.aws import bounds
from infra.substrates.aws.account import Account, provider
from infra.substrates.aws.alarms import Alarm, Alarms, AlarmsArgs
from infra.substrates.aws.audit import Audit, AuditArgs
from infra.substrates.aws.backup import Backup, BackupArgs
from infra.substrates.aws.balancer import annotations
from infra.substrates.aws.buckets import CLASSES, Buckets, BucketsArgs
from infra.substrates.aws.cache import Cache, CacheArgs
from infra.substrates.aws.cluster import Eks, EksArgs
from infra.substrates.aws.databases import Database, DatabaseArgs, Engine, Login
from infra.substrates.aws.identities import Identities, IdentitiesArgs, StoreRights
from infra.substrates.aws.interruptions import Interruptions, InterruptionsArgs
from infra.substrates.aws.kafka import Kafka, KafkaArgs
from infra.substrates.aws.keys import CLASSES as KEY_CLASSES
from infra.substrates.aws.keys import Keys, KeysArgs
from infra.substrates.aws.network import Network, NetworkArgs
from infra.substrates.aws.pods import role_name
from infra.substrates.aws.preparation import NAMESPACE as PREPARATION
from infra.substrates.aws.preparation import Preparation
from infra.substrates.aws.registry import Registry, RegistryArgs
from infra.substrates.aws.search import Search, SearchArgs
from infra.substrates.aws.secrets import Secrets, SecretsArgs
from infra.substrates.aws.stores import Stores, StoresArgs
from infra.substrates.aws.users import UsersArgs, users
from infra.substrates.base import FEATURE_REGISTRY, PIPELINE_METADATA, PIPELINE_RUNS, TRACKING
from infra.substrates.kubernetes.substrate import KubernetesSubstrate, World

STORAGE_CLASS = "encrypted"
_LOG_SHIPPER = ("logging", "fluent-bit")
"""Namespace and service account of what ships logs."""
_SECRET_CLASSES: tuple[DataClass, ...] = ("platform", "features", "raw")
"""Whose keys encrypt secrets; what a person puts into the secret store has the key of `platform`."""


class AwsCluster(pulumi.ComponentResource):
    """All that a stack has in its account; `substrate` is the cluster in it.

    The other attributes are what third-party parts have to be told: whoever installs them passes it on.

    Attributes:
        operations: ARN of the topic that the operators read; its key is that of the class `logs`.
        kafka: None where the stack has none; so are `search` and `cache`.
    """

    def __init__(
        self,
        name: str,
        settings: StackConfig,
        aws: Aws,
        repositories: Sequence[str] = (),
        opts: ResourceOptions | None = None,
    ) -> None:
        """`repositories` are the names of the images that the stack's charts take, below the registry's prefix."""
        super().__init__("falaj:aws:Cluster", name, None, opts)
        self._settings, self._aws = settings, aws
        self.account = account = Account.of(settings, aws, pulumi.get_stack())
        self._within = within = ResourceOptions(
            parent=self,
            providers=[provider(settings, aws, self), RandomProvider("random", opts=ResourceOptions(parent=self))],
        )
        self.keys = Keys("keys", KeysArgs(account=account, settings=aws.keys), within)
        self.buckets = Buckets(
            "buckets",
            BucketsArgs(
                account=account,
                settings=aws.stores.buckets,
                keys={data_class: self.keys.arn(data_class) for data_class in CLASSES},
            ),
            within,
        )
        self.network = Network(
            "network",
            NetworkArgs(
                account=account,
                settings=aws.network,
                zones=aws.zones,
                cluster=account.prefix,
                logs_key=self.keys.arn("logs"),
            ),
            within,
        )
        own = [image.repository for image in pins().images.values()]
        self.registry = Registry(
            "registry",
            RegistryArgs(
                account=account,
                settings=aws.registry,
                repositories=[*own, *repositories],
                key=self.keys.arn("artifacts"),
            ),
            within,
        )
        self.eks = Eks(
            "eks",
            EksArgs(
                account=account,
                settings=aws,
                network=self.network,
                platform_key=self.keys.arn("platform"),
                logs_key=self.keys.arn("logs"),
            ),
            within,
        )
        self.databases = self._databases()
        self.cache = self._cache()
        self.kafka = self._kafka()
        self.search = self._search()
        self.secrets = Secrets(
            "secrets",
            SecretsArgs(
                account=account,
                cluster=self.eks.cluster.name,
                keys={data_class: self.keys.arn(data_class) for data_class in _SECRET_CLASSES},
            ),
            within,
        )
        self.interruptions = Interruptions(
            "interruptions", InterruptionsArgs(account=account, key=self.keys.arn("logs")), within
        )
        self.operations = self._watch()
        self.substrate = self._cluster()
        self.register_outputs({"endpoint": self.eks.cluster.endpoint})

    @property
    def isolated(self) -> list[str]:
        """CIDRs of the subnets of the stores."""
        return list(self.network.cidrs["isolated"].values())

    def prepare(self, after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Make the users of the databases; what brings secrets into the cluster comes after all of the answer.

        Args:
            after: What pods need in order to run.
        """
        self.substrate.namespace(PREPARATION)
        arguments = UsersArgs(
            account=self.account,
            databases=list(self.databases.values()),
            keys=self.secrets.random,
            encryption=[self.keys.arn("platform"), self.keys.arn("raw")],
            isolated=self.isolated,
        )
        tasks = [users(self.substrate, arguments), *([self.search.rules()] if self.search is not None else [])]
        within = ResourceOptions(parent=self.substrate)
        preparation = Preparation("preparation", self.substrate, tasks, self.account.region, after, within)
        return [*preparation.ready, self.secrets.ready]

    def _databases(self) -> Mapping[Engine, Database]:
        settings, stores = self._settings, self._aws.stores
        logins: dict[Engine, list[Login]] = {"postgresql": [], "mysql": []}
        if settings.mlflow is not None:
            logins["postgresql"].append(Login.of(TRACKING))
        if settings.feature_server is not None:
            logins["postgresql"].append(Login.of(FEATURE_REGISTRY))
        if settings.pipelines is not None:
            logins["mysql"].append(Login.of(PIPELINE_RUNS))
            logins["postgresql"].append(Login.of(PIPELINE_METADATA))
        wanted = {"postgresql": stores.postgresql, "mysql": stores.mysql}
        engines: tuple[Engine, ...] = ("postgresql", "mysql")
        return {
            engine: Database(
                engine,
                DatabaseArgs(
                    account=self.account,
                    settings=found,
                    engine=engine,
                    network=self.network,
                    clients=self.eks.security_group,
                    key=self.keys.arn("platform"),
                    logs_key=self.keys.arn("logs"),
                    logins=logins[engine],
                ),
                self._within,
            )
            for engine in engines
            if (found := wanted[engine]) is not None
        }

    def _cache(self) -> Cache | None:
        settings = self._aws.stores.cache
        if settings is None:
            return None
        return Cache(
            "cache",
            CacheArgs(
                account=self.account,
                settings=settings,
                network=self.network,
                clients=self.eks.security_group,
                key=self.keys.arn("features"),
            ),
            self._within,
        )

    def _kafka(self) -> Kafka | None:
        settings = self._aws.kafka
        if settings is None:
            return None
        return Kafka(
            "kafka",
            KafkaArgs(
                account=self.account,
                settings=settings,
                network=self.network,
                clients=self.eks.security_group,
                key=self.keys.arn("platform"),
                logs_key=self.keys.arn("logs"),
            ),
            self._within,
        )

    def _search(self) -> Search | None:
        settings = self._aws.search
        if settings is None:
            return None
        shipper = f"arn:aws:iam::{self.account.id}:role/{role_name(self.account, *_LOG_SHIPPER)}"
        return Search(
            "search",
            SearchArgs(
                account=self.account,
                settings=settings,
                network=self.network,
                clients=self.eks.security_group,
                key=self.keys.arn("logs"),
                logs_key=self.keys.arn("logs"),
                cluster=self.eks.cluster.name,
                writers=[shipper],
                readers=[entry.role for entry in self._aws.cluster.access if not entry.namespaces],
            ),
            self._within,
        )

    def _watch(self) -> pulumi.Output[str]:
        """Trail, findings, copies and alarms; the topic of the operators."""
        account, aws, governance = self.account, self._aws, self._settings.governance
        if governance is None:
            raise ConfigError("a cluster needs governance: add it")
        Audit(
            "audit",
            AuditArgs(
                account=account,
                settings=aws.security,
                audit_key=self.keys.arn("audit"),
                logs_key=self.keys.arn("logs"),
                ready=[self.buckets.ready("audit"), self.buckets.ready("logs")],
            ),
            self._within,
        )
        if aws.backup is not None:
            resources: dict[str, pulumi.Input[str]] = {
                engine: database.instance.arn for engine, database in self.databases.items()
            }
            Backup(
                "backup",
                BackupArgs(account=account, settings=aws.backup, resources=resources, key=self.keys.arn("platform")),
                self._within,
            )
        alarms = Alarms(
            "alarms",
            AlarmsArgs(
                account=account,
                contacts=governance.contacts,
                budget=governance.budget,
                key=self.keys.arn("logs"),
                alarms=self._bounds(),
            ),
            self._within,
        )
        return alarms.operations.arn

    def _bounds(self) -> dict[str, Alarm]:
        stores = self._aws.stores
        settings = {"postgresql": stores.postgresql, "mysql": stores.mysql}
        found = bounds.control_plane(self.eks.name)
        found |= bounds.gateways({zone: gateway.id for zone, gateway in self.network.gateways.items()})
        for engine, database in self.databases.items():
            if (wanted := settings[engine]) is not None:
                found |= bounds.database(engine, database.identifier, engine, wanted)
        if self.cache is not None and stores.cache is not None:
            found |= bounds.cache("cache", self.cache.name, stores.cache)
        if self.kafka is not None:
            found |= bounds.kafka("kafka", self.kafka.name, self.kafka.count)
        if self.search is not None and self._aws.search is not None:
            found |= bounds.search("search", self.search.name, self.account.id, self._aws.search)
        return found

    def _cluster(self) -> KubernetesSubstrate:
        settings, aws, eks = self._settings, self._aws, self.eks
        connection = KubernetesProvider(
            "cluster",
            kubeconfig=eks.kubeconfig,
            cluster_identifier=self.account.cluster,
            enable_server_side_apply=True,
            opts=ResourceOptions(parent=self, depends_on=[eks.nodes, *eks.access, *eks.addons]),
        )
        StorageClass(
            STORAGE_CLASS,
            metadata=ObjectMetaArgs(name=STORAGE_CLASS),
            provisioner="ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true", "kmsKeyId": self.keys.arn("platform")},
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
            opts=ResourceOptions(parent=self, provider=connection),
        )
        stores = Stores(
            StoresArgs(
                account=self.account,
                buckets=self.buckets,
                database=self.databases["postgresql"],
                cache=self.cache,
                isolated=self.isolated,
                mysql=self.databases.get("mysql"),
            )
        )
        rights = StoreRights(
            account=self.account, keys={data_class: self.keys.arn(data_class) for data_class in KEY_CLASSES}
        )
        public = settings.gateway.public
        internal = public is None or public.internal
        world = World(
            name=eks.name,
            provider=connection,
            stores=stores,
            identities=Identities(IdentitiesArgs(rights=rights, cluster=eks.cluster.name)),
            pools=aws.nodes,
            sources=settings.sources,
            registry=settings.sources.images or f"{self.registry.host}/{aws.registry.prefix}",
            pull_secret=None,
            secret_provider={"aws": {"service": "SecretsManager", "region": aws.region}},
            secret_access=self.secrets.grant,
            storage_class=STORAGE_CLASS,
            # The second is how pods name the API servers: EKS judges a connection before it is led to one of them.
            control_plane=[*self.network.cidrs["private"].values(), aws.cluster.service_cidr],
            load_balancer=annotations(internal=internal),
            health_checks=list(self.network.cidrs["private" if internal else "public"].values()),
            tags=settings.tags(),
            protect=settings.protect,
        )
        scrape = settings.prometheus.scrape_seconds if settings.prometheus else None
        return KubernetesSubstrate("kubernetes", world, settings.gateway, scrape, self._within)

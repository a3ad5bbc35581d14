"""What a container needs in order to use the stack's S3 buckets, database and cache."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import ConfigError
from infra.substrates.aws.account import Account
from infra.substrates.aws.buckets import Buckets, bucket_name
from infra.substrates.aws.cache import PORT, Cache
from infra.substrates.aws.databases import AUTHORITY, Database, database_name
from infra.substrates.aws.pods import POD_IDENTITY
from infra.substrates.aws.secrets import secret_name
from infra.substrates.base import ONLINE_FEATURES, SecretKey, Store
from infra.substrates.kubernetes.bindings import Destination, SecretFile, StoreBinding

_KEYS = "/etc/falaj-keys"
# S3 answers from many public addresses, which the gateway endpoint reaches within the region.
_OBJECTS = Destination(cidrs=["0.0.0.0/0"], ports=[443])


@dataclass(frozen=True, kw_only=True)
class StoresArgs:
    """Where the stores are.

    Attributes:
        isolated: CIDRs of the subnets of databases and cache.
        mysql: None where the stack has no pipelines.
        cache: None where the stack has no online features.
    """

    account: Account
    buckets: Buckets
    database: Database
    cache: Cache | None
    isolated: Sequence[str]
    mysql: Database | None = None


class Stores:
    """Binds stores: buckets by Pod Identity, database and cache by secrets that only the cluster's operator reads."""

    def __init__(self, args: StoresArgs) -> None:
        self._args = args

    def bind(self, store: Store) -> StoreBinding:
        """What is needed to use a store.

        Raises:
            ConfigError: The stack has no such store.
        """
        match store.kind:
            case "folder":
                return StoreBinding(
                    uri=f"s3://{bucket_name(self._args.account, store.data_class)}/{store.name}",
                    environment={
                        "AWS_REGION": self._args.account.region,
                        # botocore, on which s3fs and MLflow stand, reads this one alone.
                        "AWS_DEFAULT_REGION": self._args.account.region,
                    },
                    destinations=[_OBJECTS, POD_IDENTITY],
                    depends_on=[self._args.buckets.ready(store.data_class)],
                )
            case "key":
                path = f"{_KEYS}/{store.name}/key"
                secret = SecretKey(secret=secret_name(self._args.account, store.name), key="key")
                return StoreBinding(uri=path, files=[SecretFile(path=path, value=secret)])
        if store.engine == "mysql":
            return self._mysql(store)
        return self._cache() if store == ONLINE_FEATURES else self._database(store)

    def _mysql(self, store: Store) -> StoreBinding:
        database = self._args.mysql
        if database is None or store.name not in database.secrets:
            raise ConfigError(f"store {store.name} has no user in a MySQL: add substrate.stores.mysql and pipelines")
        secret = secret_name(self._args.account, store.name)
        return StoreBinding(
            uri=f"mysql:///{database_name(store)}",
            environment={
                "MYSQL_HOST": database.instance.address,
                "MYSQL_PORT": str(database.port),
                "MYSQL_SSL_CA": AUTHORITY,
            },
            secrets={
                "MYSQL_USER": SecretKey(secret=secret, key="username"),
                "MYSQL_PASSWORD": SecretKey(secret=secret, key="password"),
            },
            destinations=[Destination(cidrs=list(self._args.isolated), ports=[database.port])],
            depends_on=[database.instance],
        )

    def _database(self, store: Store) -> StoreBinding:
        database = self._args.database
        if store.name not in database.secrets:
            raise ConfigError(f"store {store.name} has no user in the stack's PostgreSQL: add the part that it is for")
        secret = secret_name(self._args.account, store.name)
        return StoreBinding(
            # The client library reads the rest by itself, so that no password is part of a command.
            uri=f"postgresql+psycopg:///{database_name(store)}",
            environment={
                "PGHOST": database.instance.address,
                "PGPORT": str(database.port),
                "PGSSLMODE": "verify-full",
                "PGSSLROOTCERT": AUTHORITY,
            },
            secrets={
                "PGUSER": SecretKey(secret=secret, key="username"),
                "PGPASSWORD": SecretKey(secret=secret, key="password"),
            },
            destinations=[Destination(cidrs=list(self._args.isolated), ports=[database.port])],
            depends_on=[database.instance],
        )

    def _cache(self) -> StoreBinding:
        cache = self._args.cache
        if cache is None:
            raise ConfigError("online features need substrate.stores.cache: add it")
        kind = "redis_cluster" if cache.clustered else "redis"
        options = ["ssl=true", "username=${REDIS_USERNAME}", 'password="${REDIS_PASSWORD}"']
        return StoreBinding(
            uri=f"{kind}:" + ",".join([f"${{REDIS_HOST}}:{PORT}", *options]),
            environment={"REDIS_HOST": cache.address},
            secrets={
                "REDIS_USERNAME": SecretKey(secret=cache.secret, key="username"),
                "REDIS_PASSWORD": SecretKey(secret=cache.secret, key="password"),
            },
            destinations=[Destination(cidrs=list(self._args.isolated), ports=[PORT])],
            depends_on=[cache.group, cache.ready],
        )

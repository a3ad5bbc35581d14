"""The stores of a site: an S3-compatible store, PostgreSQL and Redis that someone else runs, with secrets."""

import pulumi

from core.errors import ConfigError
from infra.config.kubernetes import MysqlServer, ObjectStore, PostgresqlServer, RedisServer, SiteStores
from infra.substrates.base import ONLINE_FEATURES, SecretKey, Store
from infra.substrates.cluster import IdentitySpec
from infra.substrates.kubernetes.bindings import Destination, SecretFile, StoreBinding

_AUTHORITIES = "/etc/falaj-authorities"
_KEYS = "/etc/falaj-keys"
_SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


class SiteBindings:
    """Where the site's stores are, from its section of the stack's file."""

    def __init__(self, stores: SiteStores) -> None:
        self._stores = stores

    def bind(self, store: Store) -> StoreBinding:
        match store.kind:
            case "folder":
                return _objects(self._stores.objects, store)
            case "key":
                path = f"{_KEYS}/{store.name}/key"
                value = SecretKey(secret=f"falaj/{store.name}", key="key")
                return StoreBinding(uri=path, files=[SecretFile(path=path, value=value)])
        if store.engine == "mysql":
            if self._stores.mysql is None:
                raise ConfigError(f"store {store.name} needs substrate.stores.mysql: add it")
            return _mysql(self._stores.mysql, store)
        if store != ONLINE_FEATURES:
            return _postgresql(self._stores.postgresql, store)
        if self._stores.cache is None:
            raise ConfigError("online features need substrate.stores.cache: add it")
        return _redis(self._stores.cache)


class SiteIdentities:
    """A site's stores know users and passwords alone, which come with the bindings."""

    def bind(self, identity: IdentitySpec, _parent: pulumi.Resource, /) -> pulumi.Resource | None:
        if identity.permissions:
            raise ConfigError(
                f"{identity.namespace}/{identity.account} asks for rights in a cloud, and substrate.kind is kubernetes"
            )
        return None


def _objects(server: ObjectStore, store: Store) -> StoreBinding:
    authority = _authority("objects", server.authority)
    return StoreBinding(
        uri=f"s3://{server.bucket_prefix}-{store.data_class}/{store.name}",
        environment={
            "AWS_ENDPOINT_URL_S3": server.endpoint,
            # MLflow and Feast have names of their own for it.
            "MLFLOW_S3_ENDPOINT_URL": server.endpoint,
            "FEAST_S3_ENDPOINT_URL": server.endpoint,
            "AWS_REGION": server.region,
            # botocore, on which s3fs and MLflow stand, reads this one alone.
            "AWS_DEFAULT_REGION": server.region,
            **({"AWS_CA_BUNDLE": authority[0].path} if authority else {}),
        },
        secrets={
            "AWS_ACCESS_KEY_ID": SecretKey(secret=server.secret, key="access-key"),
            "AWS_SECRET_ACCESS_KEY": SecretKey(secret=server.secret, key="secret-key"),
        },
        files=authority,
        destinations=[Destination(cidrs=server.networks, ports=[server.port])],
    )


def _postgresql(server: PostgresqlServer, store: Store) -> StoreBinding:
    authority = _authority("postgresql", server.authority)
    return StoreBinding(
        # The client library reads the rest by itself, so that no password is part of a command.
        uri=f"postgresql+psycopg:///{store.name}",
        environment={
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGSSLMODE": "verify-full",
            # Not `system`: the wheel's libpq would look for it in a folder of its own, which no image has.
            "PGSSLROOTCERT": authority[0].path if authority else _SYSTEM_AUTHORITIES,
        },
        secrets={
            "PGUSER": SecretKey(secret=server.secret, key="username"),
            "PGPASSWORD": SecretKey(secret=server.secret, key="password"),
        },
        files=authority,
        destinations=[Destination(cidrs=server.networks, ports=[server.port])],
    )


def _mysql(server: MysqlServer, store: Store) -> StoreBinding:
    authority = _authority("mysql", server.authority)
    return StoreBinding(
        uri=f"mysql:///{store.name.replace('-', '_')}",
        environment={
            "MYSQL_HOST": server.host,
            "MYSQL_PORT": str(server.port),
            **({"MYSQL_SSL_CA": authority[0].path} if authority else {}),
        },
        secrets={
            "MYSQL_USER": SecretKey(secret=server.secret, key="username"),
            "MYSQL_PASSWORD": SecretKey(secret=server.secret, key="password"),
        },
        files=authority,
        destinations=[Destination(cidrs=server.networks, ports=[server.port])],
    )


def _redis(server: RedisServer) -> StoreBinding:
    authority = _authority("redis", server.authority)
    options = ["ssl=true", "username=${REDIS_USERNAME}", 'password="${REDIS_PASSWORD}"']
    options += [f"ssl_ca_certs={authority[0].path}"] if authority else []
    return StoreBinding(
        uri="redis:" + ",".join([f"{server.host}:{server.port}", *options]),
        secrets={
            "REDIS_USERNAME": SecretKey(secret=server.secret, key="username"),
            "REDIS_PASSWORD": SecretKey(secret=server.secret, key="password"),
        },
        files=authority,
        destinations=[Destination(cidrs=server.networks, ports=[server.port])],
    )


def _authority(server: str, secret: str | None) -> list[SecretFile]:
    if secret is None:
        return []
    value = SecretKey(secret=secret, key="ca.crt")
    return [SecretFile(path=f"{_AUTHORITIES}/{server}.crt", value=value)]

from typing import Any

import pytest
from cryptography import x509
from pulumi import ResourceOptions
from pulumi_random import Provider as RandomProvider

from core.digest import ROOT
from core.errors import ConfigError
from infra.config import StackConfig
from infra.substrates.aws.account import Account
from infra.substrates.aws.buckets import CLASSES, Buckets, BucketsArgs
from infra.substrates.aws.cache import Cache, CacheArgs
from infra.substrates.aws.databases import AUTHORITY, Database, DatabaseArgs, Login
from infra.substrates.aws.network import Network, NetworkArgs
from infra.substrates.aws.stores import Stores, StoresArgs
from infra.substrates.base import FEATURE_REGISTRY, MODELS, ONLINE_FEATURES, PSEUDONYM_KEY, TRACKING, Store
from infra.substrates.kubernetes.bindings import StoreBinding, StoreBindings
from tests.infra.aws.planned import aws, config, plan

KEY = "arn:aws:kms:me-central-1:444455556666:key/one"


def bind(*stores: Store, cached: bool = True) -> list[StoreBinding]:
    found: list[StoreBinding] = []

    def make(settings: StackConfig, account: Account, options: ResourceOptions) -> None:
        substrate = aws(settings)
        random = RandomProvider("random", opts=ResourceOptions(parent=options.parent))
        options = ResourceOptions.merge(options, ResourceOptions(providers=[random]))
        fields: dict[str, Any] = {"account": account, "settings": substrate.network, "zones": substrate.zones}
        network = Network("network", NetworkArgs(**fields, cluster=account.prefix, logs_key=KEY), options)
        shared: dict[str, Any] = {"account": account, "network": network, "clients": "sg-1", "key": KEY}
        wanted = substrate.stores
        kept = {**shared, "logs_key": KEY, "logins": [Login.of(FEATURE_REGISTRY)]}
        database = Database(
            "postgresql", DatabaseArgs(settings=wanted.postgresql, engine="postgresql", **kept), options
        )
        assert wanted.cache is not None
        cache = Cache("cache", CacheArgs(settings=wanted.cache, **shared), options) if cached else None
        keys = dict.fromkeys(CLASSES, KEY)
        buckets = Buckets("buckets", BucketsArgs(account=account, settings=wanted.buckets, keys=keys), options)
        isolated = list(network.cidrs["isolated"].values())
        bindings: StoreBindings = Stores(
            StoresArgs(account=account, buckets=buckets, database=database, cache=cache, isolated=isolated)
        )
        found[:] = [bindings.bind(store) for store in stores]

    plan(make, config("prod"), "prod")
    return found


def test_a_folder_is_a_prefix_of_its_class_s_bucket_and_needs_no_secret() -> None:
    (models,) = bind(MODELS)
    assert models.uri == "s3://falaj-prod-444455556666-artifacts/models"
    assert set(models.environment.values()) == {"me-central-1"}
    assert not models.secrets
    assert models.depends_on


def test_no_password_is_part_of_an_address() -> None:
    registry, online = bind(FEATURE_REGISTRY, ONLINE_FEATURES)
    assert registry.uri == "postgresql+psycopg:///feature_registry"
    assert {key.secret for key in registry.secrets.values()} == {"falaj-prod/feature-registry"}
    # Two shards: the client asks any node where the keys are.
    assert online.uri == (
        "redis_cluster:${REDIS_HOST}:6379,ssl=true,username=${REDIS_USERNAME},"
        # In quotes: Feast would read a password of digits as a number.
        'password="${REDIS_PASSWORD}"'
    )
    assert online.secrets["REDIS_PASSWORD"].secret == "falaj-prod/cache"
    assert [list(item.ports) for item in (*registry.destinations, *online.destinations)] == [[5432], [6379]]
    assert all(cidr != "0.0.0.0/0" for item in registry.destinations for cidr in item.cidrs)


def test_the_server_s_name_and_authority_are_checked() -> None:
    (registry,) = bind(FEATURE_REGISTRY)
    assert registry.environment["PGSSLMODE"] == "verify-full"
    assert registry.environment["PGSSLROOTCERT"] == AUTHORITY
    file = ROOT / AUTHORITY.removeprefix("/app/")
    certificates = x509.load_pem_x509_certificates(file.read_bytes())
    assert len(certificates) == 3
    for certificate in certificates:
        assert "Amazon RDS me-central-1 Root CA" in certificate.subject.rfc4514_string()
        certificate.verify_directly_issued_by(certificate)


def test_a_store_without_a_user_is_refused() -> None:
    with pytest.raises(ConfigError, match="store tracking has no user"):
        bind(TRACKING)


def test_a_key_is_a_file() -> None:
    (key,) = bind(PSEUDONYM_KEY)
    assert [file.path for file in key.files] == [key.uri]


def test_online_features_need_a_cache() -> None:
    with pytest.raises(ConfigError, match=r"need substrate\.stores\.cache"):
        bind(ONLINE_FEATURES, cached=False)

"""Publishing to Redis, in Feast's own layout: a hash an entity, with a field a feature and one for the view's time.

https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from feast import FeatureStore
from feast.infra.online_stores.helpers import _mmh3, _redis_key_prefix
from feast.infra.online_stores.redis import RedisOnlineStore
from google.protobuf.timestamp_pb2 import Timestamp
from redis.exceptions import RedisClusterException, RedisError

from core.errors import ConfigError
from features.definitions import Definitions
from features.encoding import encoded, entity_keys

_AT_ONCE = 2000


def publish_redis(
    store: FeatureStore, defined: Definitions, latest: pd.DataFrame, event_time: str, digest: str
) -> tuple[bool, int]:
    """Make Redis hold the features of exactly these entities.

    Feast's own materialization leaves a value that was corrected without a newer event time as it was, and never
    removes an entity. An entity changes as a whole; those who read meanwhile may see some entities as they were before.

    Args:
        latest: (n, 2 + k): one record an entity.
        digest: Of the records; where it is the digest last published, and as many entities are there, nothing is
            written.

    Returns:
        Whether all was there already, and how many values of other entities were removed.

    Raises:
        ConfigError: Redis cannot be reached, or refuses the user.
    """
    try:
        return _publish(store, defined, latest, event_time, digest)
    except (RedisError, RedisClusterException) as error:
        raise ConfigError(
            f"the online store cannot be used: {type(error).__name__}: {error}; mend online_store in "
            "feature_store.yaml, REDIS_USERNAME and REDIS_PASSWORD"
        ) from error


def _publish(
    store: FeatureStore, defined: Definitions, latest: pd.DataFrame, event_time: str, digest: str
) -> tuple[bool, int]:
    # Feast has no public way to a client that reads its connection string as Feast does.
    client = RedisOnlineStore()._get_client(store.config.online_store)
    view, project = defined.view, store.project.encode()
    stamp = f"_ts:{view.name}".encode()
    marker = f"falaj:published:{store.project}:{view.name}"
    version = store.config.entity_key_serialization_version
    keys = [key + project for key in entity_keys(defined, latest, version)]
    present = set(_present(client, _redis_key_prefix([defined.entity.join_key]), project, stamp))
    if client.get(marker) == digest.encode() and present == set(keys):
        return True, 0
    client.delete(marker)
    for some in _chunks(zip(keys, _hashes(defined, latest, event_time, stamp), strict=True)):
        with client.pipeline(transaction=False) as pipe:
            for key, fields in some:
                pipe.hset(key, mapping=fields)
            pipe.execute()
    fields = [stamp, *(_field(view.name, feature.name) for feature in view.features)]
    removed = 0
    for gone in _chunks(present - set(keys)):
        with client.pipeline(transaction=False) as pipe:
            for key in gone:
                # A hash whose last field is removed is gone itself.
                pipe.hdel(key, *fields)
            removed += sum(count - 1 for count in pipe.execute())
    client.set(marker, digest)
    return False, removed


def _present(client: Any, prefix: bytes, project: bytes, stamp: bytes) -> Iterator[bytes]:
    """Keys of the entities that have this view's features."""
    # A byte of the prefix may be a wildcard of Redis, which finds more, never less.
    found = (
        key
        for key in client.scan_iter(match=prefix + b"*" + project, count=_AT_ONCE)
        if key.startswith(prefix) and key.endswith(project)
    )
    for some in _chunks(found):
        with client.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.hexists(key, stamp)
            yield from itertools.compress(some, pipe.execute())


def _hashes(defined: Definitions, latest: pd.DataFrame, event_time: str, stamp: bytes) -> Iterator[dict[bytes, bytes]]:
    columns = [
        (_field(defined.view.name, name), codes, [value.SerializeToString() for value in values])
        for name, (codes, values) in encoded(defined.view, latest).items()
    ]
    for row, moment in enumerate(latest[event_time]):
        time = Timestamp()
        time.FromDatetime(moment.to_pydatetime())
        yield {stamp: time.SerializeToString()} | {field: values[codes[row]] for field, codes, values in columns}


def _field(view: str, feature: str) -> bytes:
    return bytes(_mmh3(f"{view}:{feature}"))


def _chunks(items: Any) -> Iterator[Sequence[Any]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, _AT_ONCE)):
        yield some

"""Reads features from Redis, in Feast's own layout: a hash an entity, with a field a feature and one for the time.

https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md
"""

import asyncio
import functools
import json
import logging
import struct
from collections.abc import Sequence
from typing import Any

import mmh3
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis as Client
from redis.asyncio import RedisCluster as ClusterClient
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from core.online import Cell, EntityKeys
from serving.runtime.errors import RefusedError, unavailable
from serving.runtime.features_store import Found, Redis, Row

_REMEMBERED = 1 << 16
logger = logging.getLogger("falaj.features")


class RedisStore:
    """The connections, made with the first look-up. Primaries alone are asked: no replica's lag is added."""

    def __init__(self, project: str, settings: Redis, timeout: float) -> None:
        self._project = project
        self._timeout = timeout
        nodes, options = parse_connection(settings.connection_string)
        options.setdefault("socket_connect_timeout", timeout)
        # A server that restarts closes idle connections, and a look-up only reads; to wait and try is for the client.
        options.setdefault("retry", Retry(NoBackoff(), 1))
        self.client: Any
        if settings.redis_type == "redis_cluster":
            self.client = ClusterClient(startup_nodes=[ClusterNode(*node) for node in nodes], **options)
        else:
            host, port = nodes[0]
            self.client = Client(host=host, port=port, **options)

    def reader(self, entity: str, view: str, features: Sequence[str]) -> "RedisReader":
        return RedisReader(self, entity, self._project, view, features)

    async def hashes(self, keys: Sequence[bytes], fields: Sequence[bytes]) -> list[list[bytes | None]]:
        """Of each key's hash, the values of the fields.

        Raises:
            RefusedError: 503, it cannot be reached, refuses, or does not answer in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                if len(keys) == 1:
                    return [await self.client.hmget(keys[0], fields)]
                pipeline = self.client.pipeline(transaction=False)
                for key in keys:
                    pipeline.hmget(key, fields)
                found: list[list[bytes | None]] = await pipeline.execute()
                return found
        except TimeoutError as error:
            raise unavailable("the online store did not answer in time") from error
        except (RedisError, RedisClusterException, OSError) as error:
            # Its text goes to the log alone: it names hosts and users.
            logger.error("the online store failed: %s: %s", type(error).__name__, error)
            raise unavailable(f"the online store cannot be used ({type(error).__name__})") from error

    async def close(self) -> None:
        await self.client.aclose()


class RedisReader:
    """Features of one view: no other field of an entity is asked for."""

    def __init__(self, store: RedisStore, entity: str, project: str, view: str, features: Sequence[str]) -> None:
        self._store = store
        self._key = EntityKeys(entity)
        self._project = project.encode()
        self._fields = [f"_ts:{view}".encode(), *(field(view, feature) for feature in features)]
        self._tasks: set[asyncio.Task[None]] = set()

    def fetch(self, entities: Sequence[str | int], found: Found) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch(entities, found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, entities: Sequence[str | int], found: Found) -> None:
        keys = [self._key(entity) + self._project for entity in entities]
        try:
            hashes = await self._store.hashes(keys, self._fields)
            rows: list[Row | None] = [
                None if time is None else (microseconds(time), *map(decode, cells)) for time, *cells in hashes
            ]
        except RefusedError as refused:
            found(refused)
        except (ValueError, DecodeError, struct.error):
            found(unavailable("the online store holds a value that is not one of Feast's"))
        else:
            found(rows)


def parse_connection(text: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Nodes and options of Feast's `host:port,host:port,option=value`, whose values are JSON where they can be."""
    nodes, options = [], {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals:
            try:
                options[name] = json.loads(value)
            except json.JSONDecodeError:
                options[name] = value
        else:
            host, _, port = part.rpartition(":")
            nodes.append((host, int(port)))
    return nodes, options


def field(view: str, feature: str) -> bytes:
    """The name of a feature's field."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


@functools.lru_cache(_REMEMBERED)
def microseconds(time: bytes) -> int:
    """Since 1970, of an encoded google.protobuf.Timestamp."""
    return int(Timestamp.FromString(time).ToMicroseconds())


@functools.lru_cache(_REMEMBERED)
def decode(cell: bytes | None) -> Cell:
    """The number or text of an encoded feast.types.Value; None where it has none. What is no scalar stays encoded."""
    if not cell:
        return None
    # The message has one field: its number and its type on the wire are the first byte.
    match cell[0]:
        case 0x35:  # float_val
            return float(struct.unpack("<f", cell[1:])[0])
        case 0x29:  # double_val
            return float(struct.unpack("<d", cell[1:])[0])
        case 0x18 | 0x20 | 0x38:  # int32_val, int64_val, bool_val
            value, _ = _varint(cell)
            return value - (1 << 64) if value >> 63 else value
        case 0x12:  # string_val
            length, start = _varint(cell)
            return cell[start : start + length].decode()
    return cell


def _varint(cell: bytes) -> tuple[int, int]:
    """The number after the first byte, and where it ends."""
    value = 0
    for position, byte in enumerate(cell[1:]):
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value, position + 2
    raise ValueError("a value of the online store is cut off")

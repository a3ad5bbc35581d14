"""The online store as the runtime sees it: what it reads of feature_store.yaml, and what every kind of store does."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError
from core.online import Cell
from serving.runtime.errors import RefusedError, unavailable

Row = tuple[Cell, ...]
"""The microseconds since 1970 of an entity's event time, its features, and whatever the store has after them."""
Found = Callable[[Sequence[Row | None] | RefusedError], None]
"""Called once with a row for each entity, in their order, None for one that is unknown; or with why there is none."""


class Reader(Protocol):
    """Reads chosen features of one view. All methods are called on the event loop."""

    def fetch(self, entities: Sequence[str | int], found: Found) -> None: ...


class OnlineStore(Protocol):
    """Shared by all models."""

    def reader(self, entity: str, view: str, features: Sequence[str]) -> Reader: ...

    async def close(self) -> None: ...


class NoStore:
    """Where the runtime was told of none."""

    def reader(self, entity: str, view: str, features: Sequence[str]) -> "NoStore":  # noqa: ARG002
        return self

    def fetch(self, entities: Sequence[str | int], found: Found) -> None:  # noqa: ARG002
        found(unavailable("no feature store is set: start the runtime with --feature-store"))

    async def close(self) -> None:
        pass


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Packed(_Section):
    """SQLite with a row an entity."""

    type: Literal["features.packed.PackedOnlineStore"]
    path: str


class Redis(_Section):
    """Redis in Feast's own layout."""

    type: Literal["redis"]
    redis_type: Literal["redis", "redis_cluster"] = "redis"
    connection_string: str


class _FeatureStore(_Section):
    project: str
    online_store: Annotated[Packed | Redis, Field(discriminator="type")]
    entity_key_serialization_version: Literal[3]


def open_online_store(folder: Path | None, timeout: float) -> OnlineStore:
    """Open the store that feature_store.yaml in `folder` describes; it need not be there yet.

    Args:
        timeout: Seconds until a look-up is given up.

    Raises:
        ConfigError: The file is missing or says what the runtime cannot read.
    """
    if folder is None:
        return NoStore()
    file = folder / "feature_store.yaml"
    try:
        # As Feast reads it.
        document = yaml.safe_load(os.path.expandvars(file.read_text()))
        found = _FeatureStore.model_validate(document)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}; mend --feature-store (FALAJ_FEATURE_STORE)") from error
    except (yaml.YAMLError, ValidationError) as error:
        # Its text would quote the password, which is in the document by now.
        faults = error.errors() if isinstance(error, ValidationError) else []
        named = ", ".join(".".join(map(str, fault["loc"])) for fault in faults) or "its YAML"
        raise ConfigError(
            f"{file} describes no store that the runtime can read: mend {named}; online_store.type is redis or "
            "features.packed.PackedOnlineStore, and entity_key_serialization_version 3"
        ) from None
    online = found.online_store
    if isinstance(online, Redis):
        # Imported where it is needed: a local environment has none.
        from serving.runtime.features_redis import RedisStore

        return RedisStore(found.project, online, timeout)
    from serving.runtime.features_packed import PackedStore

    return PackedStore(found.project, folder / online.path)

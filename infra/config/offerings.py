"""What the region offers: instance types by zone, and the families of managed databases and caches.

The figures are data with a source and a date, in infra/data/me-central-1.json. A preflight against an
account asks the region itself.
"""

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Region = Literal["me-central-1"]
"""The regions that a resource may be created in. One outside the country would be a transfer of data."""
ZoneId = Literal["mec1-az1", "mec1-az2", "mec1-az3"]
"""Zones by id: their names differ from account to account."""
ZONES: tuple[ZoneId, ...] = get_args(ZoneId)
_FILE = Path(__file__).resolve().parent.parent / "data" / "me-central-1.json"
_SHOWN = 6


class Offering(BaseModel):
    """An instance type as the region offers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: Literal["amd64", "arm64"]
    cpu: int
    """Virtual CPUs."""
    memory_mib: int
    interfaces: int
    """Network interfaces that an instance may have."""
    addresses: int
    """IPv4 addresses of each interface."""
    gpus: int = 0
    gpu: str | None = None
    gpu_memory_mib: int = 0
    """Of one GPU."""
    zones: tuple[ZoneId, ...]

    @property
    def pods(self) -> int:
        """Pods that fit with prefix delegation, as EKS recommends them."""
        slots = self.interfaces * (self.addresses - 1) * 16 + 2
        return min(slots, 110 if self.cpu <= 30 else 250)


class Managed(BaseModel):
    """Instance families of managed services."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    date: str
    database_families: tuple[str, ...]
    cache_families: tuple[str, ...]


class Offerings(BaseModel):
    """The data file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    date: str
    region: Region
    instance_types: dict[str, Offering]
    managed: Managed


@functools.cache
def offerings() -> Offerings:
    """The region's offerings."""
    return Offerings.model_validate(json.loads(_FILE.read_text()))


def offering(instance_type: str) -> Offering:
    """What the region says of an instance type that the schema has accepted."""
    return offerings().instance_types[instance_type]


def alternatives(instance_type: str, zones: Iterable[ZoneId]) -> str:
    """Types of the same kind and size that every one of `zones` offers, for an error's remedy."""
    wanted = set(zones)
    found = [
        name
        for name, offered in offerings().instance_types.items()
        if name[0] == instance_type[0]
        and name.partition(".")[2] == instance_type.partition(".")[2]
        and wanted <= set(offered.zones)
    ]
    return "choose one of " + ", ".join(sorted(found)[:_SHOWN]) if found else "see infra/data/me-central-1.json"


def _known(instance_type: str) -> str:
    if instance_type not in offerings().instance_types:
        raise ValueError(f"{instance_type} is not offered in me-central-1: {alternatives(instance_type, ())}")
    return instance_type


def _managed(instance_class: str, prefix: str, families: tuple[str, ...]) -> str:
    found, family = instance_class.split(".")[:2]
    if found != prefix or family not in families:
        offered = ", ".join(f"{prefix}.{family}" for family in families)
        raise ValueError(f"{instance_class} is not offered in me-central-1: choose from the families {offered}")
    return instance_class


def _database(instance_class: str) -> str:
    return _managed(instance_class, "db", offerings().managed.database_families)


def _cache(instance_class: str) -> str:
    return _managed(instance_class, "cache", offerings().managed.cache_families)


InstanceType = Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$"), AfterValidator(_known)]
"""An EC2 instance type that some zone of the region offers."""
DatabaseClass = Annotated[str, Field(pattern=r"^db\.[a-z0-9]+\.[a-z0-9]+$"), AfterValidator(_database)]
CacheClass = Annotated[str, Field(pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$"), AfterValidator(_cache)]

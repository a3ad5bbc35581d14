"""Node pools: which machines there are, for whom, and how many at most."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from infra.config.model import Gib, Model, duplicates
from infra.config.offerings import InstanceType, Offering, ZoneId, alternatives, offering

Arch = Literal["amd64", "arm64"]
Capacity = Literal["on-demand", "spot"]
Role = Literal["services", "pipelines", "inference", "training", "notebooks"]
"""Whose pods a pool is for."""
LABEL = "falaj.ae/pool"
"""The label and, where a pool is dedicated, the taint that carries its name."""
GPU_TAINT = "nvidia.com/gpu"
GPU_RESOURCE = "nvidia.com/gpu"


class Taint(NamedTuple):
    """A node's taint; its effect is always NoSchedule."""

    key: str
    value: str


class Shape(NamedTuple):
    """What one node of a pool offers to pods, after what the system keeps for itself."""

    cpu: float
    memory_mib: int
    gpus: int


def allocatable(offered: Offering) -> Shape:
    """What kubelet leaves of an instance type to pods, by EKS's own rules, less room for the node's daemons."""
    steps = ((1, 0.06), (1, 0.01), (2, 0.005), (offered.cpu, 0.0025))
    left, reserved = offered.cpu, 0.0
    for width, share in steps:
        reserved += min(left, width) * share
        left -= min(left, width)
    eviction = 100
    memory = int(offered.memory_mib * 0.925) - (255 + 11 * offered.pods) - eviction
    daemons = [_DAEMONS, _GPU_DAEMONS] if offered.gpus else [_DAEMONS]
    cpu = offered.cpu - reserved - sum(daemon.cpu for daemon in daemons)
    return Shape(round(cpu, 3), memory - sum(daemon.memory_mib for daemon in daemons), offered.gpus)


_DAEMONS = Shape(cpu=0.26, memory_mib=696, gpus=0)
"""Requests of the pods that run on every node: proxy 100m; network 2 of 25m; storage 3 of 10m, 40Mi; logs 50m, 256Mi;
metrics 20m, 64Mi; backup 10m, 256Mi; identity none."""
_GPU_DAEMONS = Shape(cpu=0.11, memory_mib=640, gpus=0)
"""On a node with GPUs besides: the device plugin 10m, 128Mi; its metrics 100m, 512Mi."""


class SystemNodes(Model):
    """The managed group that runs what must run before Karpenter can."""

    instance_types: tuple[InstanceType, ...] = Field(default=("m7i.large", "m6i.large"), min_length=1)
    """All of one architecture; some upstream images exist for Intel and AMD alone."""
    minimum: Annotated[int, Field(ge=1, le=20)] = 2
    """Nodes that always run."""
    maximum: Annotated[int, Field(ge=1, le=20)] = 4
    """Nodes during an update."""
    zones: tuple[ZoneId, ...] | None = None
    """A subset of `substrate.zones`; absent means all of them."""
    disk_gib: Gib = 50
    """Of each node."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        _one_kind(self.instance_types)
        if any(offering(name).gpus for name in self.instance_types):
            raise ValueError("the system needs no GPU: choose instance_types without")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum is {self.minimum} and maximum {self.maximum}: swap them")
        return self

    @property
    def arch(self) -> Arch:
        """The architecture of all its instance types."""
        return offering(self.instance_types[0]).arch


class Limits(Model):
    """The most that a pool may grow to, over all its nodes."""

    cpu: Annotated[int, Field(ge=1, le=10_000)]
    """Virtual CPUs."""
    memory_gib: Annotated[int, Field(ge=1, le=100_000)]
    """Memory."""
    gpus: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Whole GPUs."""


class NodePool(Model):
    """A Karpenter pool."""

    roles: tuple[Role, ...] = Field(min_length=1)
    """Whose pods run here."""
    instance_types: tuple[InstanceType, ...] = Field(min_length=1)
    """All of one architecture, and all with a GPU or none."""
    limits: Limits
    zones: tuple[ZoneId, ...] | None = None
    """A subset of `substrate.zones`; absent means all of them."""
    capacity: tuple[Capacity, ...] = ("on-demand",)
    """With both, spot is taken first and on-demand where there is none."""
    dedicated: bool = False
    """Whether only pods that name the pool may run here. GPU pools always are."""
    labels: Mapping[str, str] = {}
    """Beside those that every pool has."""
    disk_gib: Gib = 100
    """Of each node; images and what pods write beside volumes."""
    consolidate_after: Annotated[str, Field(pattern=r"^[0-9]+[smh]$")] = "5m"
    """How long a node may be empty or underused before it is given back."""
    expire_after_hours: Annotated[int, Field(ge=24, le=2160)] = 336
    """How old a node may become: a new one has the newest system image."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        _one_kind(self.instance_types)
        repeated = duplicates(self.instance_types) + duplicates(self.roles) + duplicates(self.capacity)
        if repeated:
            raise ValueError(f"{repeated[0]} is named twice: name it once")
        gpus = {name: offering(name).gpus for name in self.instance_types}
        if any(gpus.values()) and not all(gpus.values()):
            raise ValueError("instance_types mix some with a GPU and some without: make two pools of them")
        if self.gpu and not self.limits.gpus:
            raise ValueError("instance_types have GPUs: set limits.gpus, the most that may run at once")
        if not self.gpu and self.limits.gpus:
            raise ValueError(f"limits.gpus is {self.limits.gpus} and no instance type has a GPU: set it to 0")
        for name in self.instance_types:
            offered = offering(name)
            if (
                offered.cpu > self.limits.cpu
                or offered.memory_mib > 1024 * self.limits.memory_gib
                or offered.gpus > self.limits.gpus
            ):
                raise ValueError(f"limits are below one {name}: raise them, or choose a smaller type")
        return self

    @property
    def gpu(self) -> bool:
        """Whether its nodes have GPUs."""
        return offering(self.instance_types[0]).gpus > 0

    @property
    def arch(self) -> Arch:
        """The architecture of all its instance types."""
        return offering(self.instance_types[0]).arch

    def taints(self, name: str) -> list[Taint]:
        """What a pod must tolerate to run in the pool called `name`."""
        taints = [Taint(LABEL, name)] if self.dedicated or self.gpu else []
        return [*taints, Taint(GPU_TAINT, "present")] if self.gpu else taints

    def shapes(self) -> list[Shape]:
        """What a node offers to pods, for each instance type."""
        return [allocatable(offering(name)) for name in self.instance_types]


def unoffered(instance_types: tuple[InstanceType, ...], zones: tuple[ZoneId, ...]) -> str | None:
    """Why some type is not to be had in some zone, with a remedy; None where all are."""
    for name in instance_types:
        missing = [zone for zone in zones if zone not in offering(name).zones]
        if missing:
            return f"{name} is not offered in {', '.join(missing)}: {alternatives(name, zones)}, or name other zones"
    return None


def _one_kind(instance_types: tuple[InstanceType, ...]) -> None:
    if len({offering(name).arch for name in instance_types}) > 1:
        raise ValueError("instance_types mix Intel or AMD with Graviton: make two pools of them")

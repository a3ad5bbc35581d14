"""Where and how many times a service runs, as its section of the stack says."""

from typing import TypedDict

from infra.config.services import Service
from infra.substrates.base import Resources


class Placed(TypedDict):
    """Fields of a Workload."""

    resources: Resources
    replicas: int
    max_replicas: int
    target_cpu: int
    pool: str | None


def placed(settings: Service, default: Resources) -> Placed:
    """The fields that `settings` decide; `default` is what the service asks for when they do not say."""
    size = settings.size
    return Placed(
        resources=Resources(cpu=size.cpu, memory_mib=size.memory_mib, gpus=size.gpus) if size else default,
        replicas=settings.replicas.minimum,
        max_replicas=settings.replicas.maximum,
        target_cpu=settings.replicas.target_cpu,
        pool=settings.pool,
    )

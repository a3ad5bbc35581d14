"""Which nodes pods run on, and whether they fit there."""

from collections.abc import Mapping

from core.errors import ConfigError
from infra.config.kubernetes import NodeSelection
from infra.config.nodes import LABEL, NodePool, Role
from infra.substrates.base import Resources
from infra.substrates.cluster import Placement

Pools = Mapping[str, NodePool | NodeSelection]


def candidates(pools: Pools, role: Role, pool: str | None) -> list[str]:
    """Names of the pools that pods of `role` may run on.

    Raises:
        ConfigError: There is none.
    """
    if pool is not None:
        if pool not in pools or role not in pools[pool].roles:
            raise ConfigError(f"substrate.nodes has no pool {pool} with the role {role}: add the role, or name another")
        return [pool]
    found = sorted(name for name, nodes in pools.items() if role in nodes.roles and not nodes.taints(name))
    if not found:
        raise ConfigError(f"no pool of substrate.nodes that is open to all has the role {role}: add it to one's roles")
    return found


def placement(pools: Pools, role: Role, pool: str | None) -> Placement:
    """The labels that all candidates have, and the taints of a named pool."""
    names = candidates(pools, role, pool)
    selectors = [set(_labels(name, pools[name]).items()) for name in names]
    return Placement(
        node_selector=dict(sorted(set.intersection(*selectors))),
        tolerations=pools[pool].taints(pool) if pool is not None else [],
    )


def check_fit(pools: Pools, role: Role, pool: str | None, name: str, wanted: Resources) -> None:
    """Refuse a pod that no node can hold.

    Raises:
        ConfigError: With the largest node that there is.
    """
    shapes = [shape for candidate in candidates(pools, role, pool) for shape in pools[candidate].shapes()]
    for shape in shapes:
        if shape.cpu >= wanted.cpu and shape.memory_mib >= wanted.memory_mib and shape.gpus >= wanted.gpus:
            return
    largest = max(shapes, key=lambda shape: (shape.gpus, shape.cpu, shape.memory_mib))
    raise ConfigError(
        f"{name} asks for {wanted.cpu:g} CPU, {wanted.memory_mib} MiB and {wanted.gpus} GPU, and the largest node that "
        f"it may run on offers {largest.cpu:g}, {largest.memory_mib} and {largest.gpus}: lower {name}.size, or choose "
        "larger nodes"
    )


def _labels(name: str, pool: NodePool | NodeSelection) -> Mapping[str, str]:
    return pool.selector if isinstance(pool, NodeSelection) else {LABEL: name}

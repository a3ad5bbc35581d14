"""Which nodes to add for pods that the scheduler finds no place for, as Karpenter decides it.

Large pods first; a pod joins a node that is about to be launched while some type of its pool still holds all that are
to run there; each is then launched as the smallest such type. A pool never grows over its limits.
https://karpenter.sh/docs/concepts/scheduling/ and, for limits, https://karpenter.sh/docs/concepts/nodepools/#speclimits
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rehearsal.kubernetes.amounts import Amounts, amounts, asked, lacking, less, told, total
from rehearsal.kubernetes.api import Manifest
from rehearsal.kubernetes.cloud import POOL, Pool
from rehearsal.kubernetes.matching import repelled, selects
from rehearsal.kubernetes.nodes import ZONE, Machine

_NODES = "falaj:stack.substrate.nodes"


@dataclass
class Room:
    """A node that is there, and what is free on it."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    free: Amounts

    def holds(self, spec: Mapping[str, Any], need: Amounts) -> bool:
        """Whether a pod may and can run there."""
        return selects(spec, self.labels) and not repelled(spec, self.taints) and not lacking(need, self.free)


@dataclass
class _Launch:
    pool: Pool
    machines: list[Machine]
    need: Amounts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do for pending pods.

    Attributes:
        awaited: Pod's uid → the node that is there and has room for it.
        launches: Machines to add.
        refused: Pod's uid → why no machine is added for it.
    """

    awaited: Mapping[str, str]
    launches: Sequence[Machine]
    refused: Mapping[str, str]


def rooms(nodes: Sequence[Manifest], pods: Sequence[Manifest]) -> list[Room]:
    """What is free on each node, less what runs there."""
    taken: dict[str, list[Amounts]] = {}
    for pod in pods:
        if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            taken.setdefault(pod["spec"]["nodeName"], []).append(asked(pod["spec"]))
    return [
        Room(
            name=node["metadata"]["name"],
            labels=node["metadata"]["labels"],
            taints=node["spec"].get("taints") or [],
            free=less(amounts(node["status"]["allocatable"]), total(taken.get(node["metadata"]["name"], []))),
        )
        for node in nodes
        if "deletionTimestamp" not in node["metadata"]
    ]


def used(pools: Sequence[Pool], nodes: Sequence[Manifest]) -> dict[str, Amounts]:
    """Capacity of the nodes of each pool."""
    return {
        pool.name: total(
            amounts(node["status"]["capacity"]) for node in nodes if node["metadata"]["labels"].get(POOL) == pool.name
        )
        for pool in pools
    }


@dataclass
class Provisioner:
    """Plans nodes for pods.

    Attributes:
        pools: In the order in which they are tried.
        there: Nodes; what is planned for them is taken from their room.
        grown: Capacity that the nodes of each pool have, by its name.
        daemons: Pod specifications of all DaemonSets.
    """

    pools: Sequence[Pool]
    there: Sequence[Room]
    grown: Mapping[str, Amounts]
    daemons: Sequence[Mapping[str, Any]]
    _launches: list[_Launch] = field(default_factory=list)

    def plan(self, pending: Sequence[Manifest], spent: Callable[[str, str], bool]) -> Plan:
        """Find a node for each pending pod; `spent` says of a pod's uid and a node's name whether the scheduler has
        refused that node though it has room."""
        awaited: dict[str, str] = {}
        refused: dict[str, str] = {}
        for pod in sorted(pending, key=_size, reverse=True):
            uid, spec = pod["metadata"]["uid"], pod["spec"]
            need = asked(spec)
            room = next((room for room in self.there if not spent(uid, room.name) and room.holds(spec, need)), None)
            if room is not None:
                room.free = less(room.free, need)
                awaited[uid] = room.name
            elif not self._joins(spec, need) and not self._opens(spec, need):
                refused[uid] = self._why(spec, need)
        return Plan(awaited=awaited, launches=self._chosen(), refused=refused)

    def _joins(self, spec: Mapping[str, Any], need: Amounts) -> bool:
        for launch in self._launches:
            machines = self._fitting(spec, total([launch.need, need]), launch.pool, launch.machines, launch)
            if machines:
                launch.machines, launch.need = machines, total([launch.need, need])
                return True
        return False

    def _opens(self, spec: Mapping[str, Any], need: Amounts) -> bool:
        for pool in self.pools:
            machines = self._fitting(spec, need, pool, pool.machines)
            if machines:
                self._launches.append(_Launch(pool, machines, need))
                return True
        return False

    def _fitting(
        self,
        spec: Mapping[str, Any],
        need: Amounts,
        pool: Pool,
        machines: Sequence[Machine],
        launch: _Launch | None = None,
    ) -> list[Machine]:
        """Those machines of a pool that hold the pod and all planned beside it, and that the pool may still have."""
        planned = [other.machines[0].capacity for other in self._launches if other is not launch and other.pool is pool]
        left = less(pool.limits, total([self.grown.get(pool.name, {}), *planned]))
        return [
            machine
            for machine in machines
            if selects(spec, machine.labels)
            and not repelled(spec, machine.taints)
            and not lacking(need, self._open(machine))
            and all(machine.capacity.get(name, Decimal(0)) <= value for name, value in left.items())
        ]

    def _open(self, machine: Machine) -> Amounts:
        """What a node has for pods once the daemons run there."""
        own = [
            asked(spec) for spec in self.daemons if selects(spec, machine.labels) and not repelled(spec, machine.taints)
        ]
        return less(machine.allocatable, total(own))

    def _chosen(self) -> list[Machine]:
        """The smallest type that holds all, in the zone where its pool has the fewest nodes."""
        crowd = Counter((room.labels.get(POOL), room.labels.get(ZONE)) for room in self.there)
        found: list[Machine] = []
        for launch in self._launches:
            pool = launch.pool.name
            same = [machine for machine in launch.machines if _kind(machine) == _kind(launch.machines[0])]
            machine = min(same, key=lambda machine: crowd[pool, machine.zone])
            crowd[pool, machine.zone] += 1
            found.append(machine)
        return found

    def _why(self, spec: Mapping[str, Any], need: Amounts) -> str:
        """Why no pool takes a pod, and which setting it hangs on; of those that it does not select, none is named."""
        reasons = [reason for pool in self.pools if (reason := self._against(pool, spec, need)) is not None]
        if not reasons:
            wanted = spec.get("nodeSelector") or (spec.get("affinity") or {}).get("nodeAffinity") or "any node"
            names = ", ".join(pool.name for pool in self.pools)
            reasons.append(f"no pool has the labels that it selects, {wanted}: the pools are {names} ({_NODES})")
        return "; ".join(reasons)

    def _against(self, pool: Pool, spec: Mapping[str, Any], need: Amounts) -> str | None:
        setting = f"{_NODES}.{pool.name}"
        if pool.empty is not None:
            return f"pool {pool.name}: {pool.empty} ({setting})"
        selected = [machine for machine in pool.machines if selects(spec, machine.labels)]
        if not selected:
            return None
        taints = repelled(spec, selected[0].taints)
        if taints:
            return f"pool {pool.name}: its pods must tolerate {' and '.join(taints)} ({setting}.dedicated)"
        if all(lacking(need, self._open(machine)) for machine in selected):
            most = told(self._open(selected[-1]))
            return (
                f"pool {pool.name}: it asks for {told(need)}, and the largest node there has {most} "
                f"({setting}.instance_types)"
            )
        taken = told(self.grown.get(pool.name, {})) or "nothing"
        return (
            f"pool {pool.name}: its nodes have {taken}, and with one more for {told(need)} they are over its limits, "
            f"{told(pool.limits)} ({setting}.limits)"
        )


def _size(pod: Manifest) -> tuple[Decimal, Decimal]:
    need = asked(pod["spec"])
    return need.get("cpu", Decimal(0)), need.get("memory", Decimal(0))


def _kind(machine: Machine) -> dict[str, str]:
    return {key: value for key, value in machine.labels.items() if not key.startswith("topology.")}

"""Machines that an AWS account offers: nodes of EKS's managed groups, and what pools of Karpenter may launch."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import boto3

from rehearsal.kubernetes.amounts import Amounts, amounts
from rehearsal.kubernetes.api import Api, Manifest
from rehearsal.kubernetes.nodes import ZONE, Machine, on_eks
from rehearsal.protocol import NotFoundError

REGION = "me-central-1"
POOL = "karpenter.sh/nodepool"
GROUP = "eks.amazonaws.com/nodegroup"
_TYPE, _ZONE_ID, _CAPACITY = (
    "node.kubernetes.io/instance-type",
    "topology.k8s.aws/zone-id",
    "karpenter.sh/capacity-type",
)
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_LARGE = 30
"""CPUs above which EKS lets 250 pods run, and 110 up to there."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A NodePool, by what it may launch.

    Attributes:
        machines: Each type in each zone by each way to buy it.
        limits: The most that all its nodes may have together.
        empty: Why it can launch nothing, where it cannot.
    """

    name: str
    weight: int
    machines: Sequence[Machine]
    limits: Amounts
    empty: str | None = None


@dataclass(frozen=True)
class _Type:
    arch: str
    cpus: int
    memory_mib: int
    gpus: int
    pods: int


class Account:
    """EC2 and EKS of the emulated account."""

    def __init__(self, url: str) -> None:
        # Its stubs take no name that is only known while it runs.
        make: Any = boto3.client
        like = {"region_name": REGION, "endpoint_url": url, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        self._ec2, self._eks = make("ec2", **like), make("eks", **like)

    def groups(self) -> dict[str, Machine]:
        """Nodes of all managed groups, by name: as many as desired, over the zones in turn, of the first type."""
        found: dict[str, Machine] = {}
        for cluster in self._eks.list_clusters()["clusters"]:
            for name in self._eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
                group = self._eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]
                subnets = self._ec2.describe_subnets(SubnetIds=group["subnets"])["Subnets"]
                places = sorted({(subnet["AvailabilityZone"], subnet["AvailabilityZoneId"]) for subnet in subnets})
                types = group.get("instanceTypes") or ["t3.medium"]
                for number in range(group["scalingConfig"]["desiredSize"]):
                    zone, zone_id = places[number % len(places)]
                    # Of its types a group takes the first that the zone offers.
                    kind = next((kind for kind in types if zone_id in self._offered(kind)), None)
                    if kind is not None:
                        labels = {**(group.get("labels") or {}), GROUP: name}
                        taints = [_taint(taint) for taint in group.get("taints") or []]
                        place = _Place(zone=zone, zone_id=zone_id, capacity_type=group.get("capacityType", "ON_DEMAND"))
                        found[f"{name}-{number + 1}"] = self._machine(f"group {name}", kind, place, labels, taints)
        return found

    def pools(self, api: Api) -> list[Pool]:
        """All NodePools, in the order in which Karpenter tries them: by weight, then by name from the end."""
        found = [self._pool(item, api) for item in api.items("karpenter.sh/v1", "NodePool")]
        return sorted(found, key=lambda pool: (pool.weight, pool.name), reverse=True)

    def _pool(self, item: Manifest, api: Api) -> Pool:
        name, spec = item["metadata"]["name"], item["spec"]
        known = Pool(name=name, weight=spec.get("weight", 0), machines=[], limits=amounts(spec.get("limits")))
        if "template" not in spec:
            return _without(known, "it has no template of its nodes")
        template, own = spec["template"], spec["template"]["spec"]
        try:
            like = api.get(
                {
                    "apiVersion": f"{own['nodeClassRef']['group']}/v1",
                    "kind": own["nodeClassRef"]["kind"],
                    "metadata": {"name": own["nodeClassRef"]["name"]},
                }
            )
        except NotFoundError:
            return _without(known, f"its node class {own['nodeClassRef']['name']} is not there")
        places = self._places(like["spec"].get("subnetSelectorTerms") or [])
        if not places:
            return _without(known, f"no subnet has the tags that node class {like['metadata']['name']} selects")
        wanted = {rule["key"]: rule["values"] for rule in own.get("requirements") or [] if rule["operator"] == "In"}
        labels = {**template.get("metadata", {}).get("labels", {}), POOL: name}
        owner = {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": name, "uid": item["metadata"]["uid"]}
        most = like["spec"].get("kubelet", {}).get("maxPods")
        machines = [
            self._machine(f"pool {name}", kind, place, labels, own.get("taints") or [], owner=owner, pods=most)
            for kind, place in itertools.product(wanted.get(_TYPE, []), places)
            if place.zone_id in self._offered(kind)
        ]
        machines = [
            machine for machine in machines if all(machine.labels.get(key) in values for key, values in wanted.items())
        ]
        if not machines:
            return _without(known, "none of its instance_types is offered in its zones")
        return Pool(name=name, weight=known.weight, machines=sorted(machines, key=_cheapness), limits=known.limits)

    def _places(self, terms: Sequence[Mapping[str, Any]]) -> list["_Place"]:
        found: set[tuple[str, str]] = set()
        for term in terms:
            filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in (term.get("tags") or {}).items()]
            filters += [{"Name": "subnet-id", "Values": [term["id"]]}] if "id" in term else []
            for subnet in self._ec2.describe_subnets(Filters=filters)["Subnets"]:
                found.add((subnet["AvailabilityZone"], subnet["AvailabilityZoneId"]))
        return [
            _Place(zone=zone, zone_id=zone_id, capacity_type=capacity)
            for zone, zone_id in sorted(found)
            for capacity in ("SPOT", "ON_DEMAND")
        ]

    def _machine(
        self,
        source: str,
        kind: str,
        place: "_Place",
        labels: Mapping[str, str],
        taints: Sequence[Mapping[str, str]],
        *,
        owner: Mapping[str, Any] | None = None,
        pods: int | None = None,
    ) -> Machine:
        known = self._type(kind)
        capacity, allocatable = on_eks(known.cpus, known.memory_mib, known.gpus, min(known.pods, pods or known.pods))
        own = {_TYPE: kind, "kubernetes.io/arch": known.arch, "kubernetes.io/os": "linux", **place.labels}
        return Machine(
            source=source,
            labels={**own, **labels},
            taints=taints,
            capacity=capacity,
            allocatable=allocatable,
            owner=owner,
        )

    @functools.cache  # noqa: B019  # as long as the process, which has one account
    def _type(self, name: str) -> _Type:
        told = self._ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        cpus, network = told["VCpuInfo"]["DefaultVCpus"], told["NetworkInfo"]
        # With prefix delegation every address but an interface's own stands for sixteen.
        slots = network["MaximumNetworkInterfaces"] * (network["Ipv4AddressesPerInterface"] - 1) * 16 + 2
        return _Type(
            arch=next(
                _ARCHITECTURES[arch]
                for arch in told["ProcessorInfo"]["SupportedArchitectures"]
                if arch in _ARCHITECTURES
            ),
            cpus=cpus,
            memory_mib=told["MemoryInfo"]["SizeInMiB"],
            gpus=sum(gpu["Count"] for gpu in told.get("GpuInfo", {}).get("Gpus", [])),
            pods=min(slots, 110 if cpus <= _LARGE else 250),
        )

    @functools.cache  # noqa: B019
    def _offered(self, name: str) -> frozenset[str]:
        answer = self._ec2.describe_instance_type_offerings(
            LocationType="availability-zone-id", Filters=[{"Name": "instance-type", "Values": [name]}]
        )
        return frozenset(offer["Location"] for offer in answer["InstanceTypeOfferings"])


@dataclass(frozen=True, kw_only=True)
class _Place:
    zone: str
    zone_id: str
    capacity_type: str

    @property
    def labels(self) -> dict[str, str]:
        return {
            ZONE: self.zone,
            "topology.kubernetes.io/region": REGION,
            _ZONE_ID: self.zone_id,
            _CAPACITY: self.capacity_type.lower().replace("_", "-"),
        }


def _without(pool: Pool, why: str) -> Pool:
    return Pool(name=pool.name, weight=pool.weight, machines=[], limits=pool.limits, empty=why)


def _cheapness(machine: Machine) -> tuple[Any, ...]:
    """Smaller ones first, as prices go; of one size spot first, as Karpenter takes it where a pool allows it."""
    size = [machine.capacity.get(name, Decimal(0)) for name in ("nvidia.com/gpu", "cpu", "memory")]
    return (*size, machine.labels[_CAPACITY] != "spot", machine.labels[_TYPE])


def _taint(told: Mapping[str, str]) -> dict[str, str]:
    effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
    return {"key": told["key"], "value": told.get("value", ""), "effect": effects[told["effect"]]}


def of_site(pools: Mapping[str, Mapping[str, Any]], zones: Sequence[str]) -> Iterator[tuple[str, Machine]]:
    """Nodes that a site has, by name, from `substrate.nodes` and `substrate.zones` of a stack's file."""
    for name, pool in pools.items():
        has = amounts({"cpu": str(pool["cpu"]), "memory": f"{pool['memory_gib']}Gi", "pods": "110"})
        has |= amounts({"nvidia.com/gpu": str(pool["gpus"])}) if pool.get("gpus") else {}
        taints = [
            {"key": key, "value": value, "effect": "NoSchedule"} for key, value in pool.get("tolerate", {}).items()
        ]
        for number in range(pool["count"]):
            labels = {"kubernetes.io/arch": pool.get("arch", "amd64"), "kubernetes.io/os": "linux", **pool["selector"]}
            labels |= {ZONE: zones[number % len(zones)]} if zones else {}
            machine = Machine(source=f"pool {name}", labels=labels, taints=taints, capacity=has, allocatable=has)
            yield f"{name}-{number + 1}", machine

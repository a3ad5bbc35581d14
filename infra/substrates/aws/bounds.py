"""When a managed store, a gateway or the control plane is in need of a person: bounds on the cloud's own metrics."""

import math
from collections.abc import Mapping

import pulumi

from infra.config.aws import Cache, Database, Search
from infra.config.offerings import ZoneId
from infra.substrates.aws.alarms import Alarm, Statistic
from infra.substrates.aws.databases import Engine

_At = tuple[str, Mapping[str, pulumi.Input[str]]]
"""Namespace and dimensions of a metric."""
_GIB = 2**30
_FULL = 0.05
"""Part of the storage at whose end someone has to look."""
_FAMILY_GIB = {"t": {"micro": 1, "small": 2, "medium": 4, "large": 8}, "m": {"large": 8}, "r": {"large": 16}}
"""Memory of the smallest sizes of the families of databases; each size after `large` has a multiple of that."""
_CONNECTION_BYTES = {"postgresql": 9_531_392, "mysql": 12_582_880}
"""RDS lets in as many connections as these go into the memory, unless told otherwise."""
_CONNECTIONS = 5_000
"""RDS lets in no more, however large the instance."""


def database(name: str, identifier: pulumi.Input[str], engine: Engine, settings: Database) -> dict[str, Alarm]:
    """Of an RDS instance: processor, storage that can no longer grow, and connections."""
    at = ("AWS/RDS", {"DBInstanceIdentifier": identifier})
    most = connections(engine, settings.instance_class)
    return {
        f"{name}-cpu": _above(at, "CPUUtilization", 90, f"{name}: the processor is busy for 90 % of the time"),
        f"{name}-storage": _below(
            at, "FreeStorageSpace", _FULL * settings.storage_gib * _GIB, f"{name}: its storage is almost full"
        ),
        f"{name}-connections": _above(
            at, "DatabaseConnections", round(0.8 * most), f"{name}: 80 % of its connections are taken"
        ),
    }


def connections(engine: Engine, instance_class: str) -> int:
    """How many connections an instance takes: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html"""
    _, family, size = instance_class.split(".")
    known = _FAMILY_GIB[family[0]]
    if size in known:
        gib = known[size]
    else:
        multiple = size.removesuffix("xlarge")
        gib = known["large"] * 2 * int(multiple or 1)
    return min(math.floor(gib * _GIB / _CONNECTION_BYTES[engine]), _CONNECTIONS)


def cache(name: str, group: str, settings: Cache) -> dict[str, Alarm]:
    """Of each node of a cache: memory, what was thrown away for lack of it, and the one processor that it uses.

    Args:
        group: Id of the replication group, from which the nodes have their names.
    """
    found: dict[str, Alarm] = {}
    for node in nodes(group, settings):
        at = ("AWS/ElastiCache", {"CacheClusterId": node})
        short = f"{name}-{node.removeprefix(f'{group}-')}"
        found[f"{short}-memory"] = _above(
            at, "DatabaseMemoryUsagePercentage", 85, f"{short}: 85 % of its memory is used"
        )
        found[f"{short}-evictions"] = _above(at, "Evictions", 0, f"{short}: features were thrown away", "Sum")
        found[f"{short}-cpu"] = _above(at, "EngineCPUUtilization", 80, f"{short}: its thread is busy for 80 %")
    return found


def nodes(group: str, settings: Cache) -> list[str]:
    """Names of a cache's nodes, as ElastiCache makes them."""
    members = range(1, settings.replicas + 2)
    if settings.shards == 1:
        return [f"{group}-{member:03}" for member in members]
    return [f"{group}-{shard:04}-{member:03}" for shard in range(1, settings.shards + 1) for member in members]


def kafka(name: str, cluster: str, brokers: int) -> dict[str, Alarm]:
    """Of brokers: disks that fill up, and parts of topics that no one can read."""
    found = {
        f"{name}-offline": _above(
            ("AWS/Kafka", {"Cluster Name": cluster}),
            "OfflinePartitionsCount",
            0,
            f"{name}: parts of topics cannot be read or written",
            "Maximum",
        )
    }
    for broker in range(1, brokers + 1):
        at = ("AWS/Kafka", {"Cluster Name": cluster, "Broker ID": str(broker)})
        found[f"{name}-{broker}-disk"] = _above(
            at, "KafkaDataLogsDiskUsed", 85, f"{name}: 85 % of the disk of broker {broker} is used", "Maximum"
        )
    return found


def search(name: str, domain: str, account: str, settings: Search) -> dict[str, Alarm]:
    """Of a domain: what no one can read or write, disks, memory, and the key that it cannot reach."""
    at = ("AWS/ES", {"DomainName": domain, "ClientId": account})
    return {
        f"{name}-red": _above(at, "ClusterStatus.red", 0, f"{name}: parts of indices are lost", "Maximum"),
        f"{name}-blocked": _above(at, "ClusterIndexWritesBlocked", 0, f"{name}: nothing can be written", "Maximum"),
        f"{name}-storage": _below(
            at,
            "FreeStorageSpace",
            # This metric counts MiB, and those of the fullest node.
            0.2 * settings.storage_gib * 1024,
            f"{name}: 80 % of a node's disk is used",
            "Minimum",
        ),
        f"{name}-memory": _above(at, "JVMMemoryPressure", 92, f"{name}: memory is almost used up", "Maximum"),
        f"{name}-key": _above(at, "KMSKeyError", 0, f"{name}: its key is disabled or out of reach", "Maximum"),
        f"{name}-snapshot": _above(at, "AutomatedSnapshotFailure", 0, f"{name}: a copy failed", "Maximum"),
    }


def gateways(found: Mapping[ZoneId, pulumi.Input[str]]) -> dict[str, Alarm]:
    """Of NAT gateways: connections that none was left for, and packets that were lost."""
    alarms: dict[str, Alarm] = {}
    for zone, gateway in found.items():
        at = ("AWS/NATGateway", {"NatGatewayId": gateway})
        alarms[f"nat-{zone}-ports"] = _above(
            at, "ErrorPortAllocation", 0, f"NAT of {zone}: connections were refused, none was left", "Sum"
        )
        alarms[f"nat-{zone}-drops"] = _above(at, "PacketsDropCount", 100, f"NAT of {zone}: packets are lost", "Sum")
    return alarms


def control_plane(cluster: str) -> dict[str, Alarm]:
    """Of EKS: requests that its API failed, pods that find no node, and its storage, which ends at 8 GiB."""
    at = ("AWS/EKS", {"ClusterName": cluster})
    return {
        "cluster-errors": _above(at, "apiserver_request_total_5XX", 50, "cluster: its API fails requests", "Sum"),
        "cluster-unschedulable": _above(
            at, "scheduler_pending_pods_UNSCHEDULABLE", 0, "cluster: pods find no node", "Minimum"
        ),
        "cluster-storage": _above(
            at, "apiserver_storage_size_bytes", 6 * _GIB, "cluster: its objects fill three quarters of etcd", "Maximum"
        ),
    }


def _above(at: _At, metric: str, bound: float, description: str, statistic: Statistic = "Average") -> Alarm:
    return Alarm(*at, metric, bound, description, statistic=statistic, above=True)


def _below(at: _At, metric: str, bound: float, description: str, statistic: Statistic = "Average") -> Alarm:
    return Alarm(*at, metric, bound, description, statistic=statistic, above=False)

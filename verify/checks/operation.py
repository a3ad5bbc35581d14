"""What watches and keeps a cluster."""

import datetime as dt

from verify.asked import Each
from verify.cluster import Cluster, Manifest, condition, namespaced
from verify.declared import Declared, Inputs, differences

_BACKUP_HOURS = 50
"""Two nights, and the time that a copy takes."""


def test_monitors(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Everything that Prometheus is to watch is named to it."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences(inputs["spec"], found["spec"]))

    each(
        namespaced(declared, "monitoring.coreos.com:ServiceMonitor")
        | namespaced(declared, "monitoring.coreos.com:PodMonitor"),
        judge,
    )


def test_backup_place(each: Each, declared: Declared, cluster: Cluster) -> None:
    """The place of the cluster's copies is the declared one, and can be written."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        faults = list(differences(inputs["spec"], found["spec"]))
        if not faults:
            _ = cluster.machines
            phase = found.get("status", {}).get("phase")
            faults += [] if phase == "Available" else [f"is {phase}"]
        return faults

    each(namespaced(declared, "velero.io:BackupStorageLocation"), judge)


def test_backups_are_made(each: Each, cluster: Cluster) -> None:
    """Copies of the cluster are made by a schedule, and the last is not old."""

    def judge(item: Manifest) -> str | None:
        if item["spec"].get("paused"):
            return "is paused"
        _ = cluster.machines
        last = item.get("status", {}).get("lastBackup")
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(last or item["metadata"]["creationTimestamp"])
        if age < dt.timedelta(hours=_BACKUP_HOURS):
            return None
        return f"made its last copy at {last}" if last else "has made no copy"

    each(cluster.in_namespaces("velero.io/v1", "Schedule"), judge)


def test_storage_class(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Volumes are encrypted, by the key that the stack declares."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        faults = list(differences(inputs["parameters"], found.get("parameters")))
        return faults or ([] if found.get("parameters", {}).get("encrypted") == "true" else ["is not encrypted"])

    each(namespaced(declared, "storage.k8s.io:StorageClass"), judge)


def test_volumes(each: Each, cluster: Cluster) -> None:
    """Every volume that was asked for is there, in a class that the stack declares or the site names."""

    def judge(item: Manifest) -> str | None:
        _ = cluster.nodes
        phase = item.get("status", {}).get("phase")
        return None if phase == "Bound" else f"is {phase}"

    each(cluster.in_namespaces("v1", "PersistentVolumeClaim"), judge)


def test_priorities(each: Each, declared: Declared, cluster: Cluster) -> None:
    """What gives way when nodes are full is as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences({"value": inputs.get("value")}, found))

    each(namespaced(declared, "scheduling.k8s.io:PriorityClass"), judge)


def test_extended_apis(each: Each, cluster: Cluster) -> None:
    """Every API that something in the cluster serves answers."""

    def judge(item: Manifest) -> str | None:
        if item["spec"].get("service") is None:
            return None
        _ = cluster.machines
        return condition(item, "Available")

    found = cluster.found("apiregistration.k8s.io/v1", "APIService")
    each({name: item for (_, name), item in found.items()}, judge)

"""The machines of the cluster."""

from verify.asked import Each
from verify.cluster import Cluster, Manifest, condition, namespaced
from verify.declared import Declared, Inputs, differences

_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_POOL = "falaj.ae/pool"


def test_ready(each: Each, cluster: Cluster) -> None:
    """Every node is ready."""
    each(_named(cluster), lambda item: condition(item, "Ready"))


def test_pressure(each: Each, cluster: Cluster) -> None:
    """No node is short of memory, disk or processes."""
    each(
        _named(cluster),
        lambda item: [f"has {kind}" for kind in _PRESSURES if condition(item, kind) is None],
    )


def test_pools(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every pool that makes machines is there, with its limits."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        wanted = {key: inputs["spec"].get(key) for key in ("limits", "disruption")}
        taints = {"taints": inputs["spec"]["template"]["spec"].get("taints")}
        return [*differences(wanted, found["spec"]), *differences(taints, found["spec"]["template"]["spec"])]

    each(namespaced(declared, "karpenter.sh:NodePool"), judge)


def test_pools_are_ready(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every pool can make machines."""

    def judge(inputs: Inputs) -> str | None:
        found = cluster.live(inputs)
        if found is None:
            return "is missing"
        _ = cluster.machines
        return condition(found, "Ready")

    each(namespaced(declared, "karpenter.sh:NodePool"), judge)


def test_known_pools(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every node is of a pool that the stack declares."""
    pools = {inputs["metadata"]["name"] for inputs in declared.of("karpenter.sh:NodePool").values()}
    pools |= {
        inputs["labels"][_POOL]
        for inputs in declared.of("aws:eks/nodeGroup:NodeGroup").values()
        if _POOL in inputs["labels"]
    }

    def judge(item: Manifest) -> str | None:
        pool = (item["metadata"].get("labels") or {}).get(_POOL)
        return None if pool in pools else f"is of the pool {pool}"

    each(_named(cluster) if pools else {}, judge)


def _named(cluster: Cluster) -> dict[str, Manifest]:
    return {item["metadata"]["name"]: item for item in cluster.nodes}

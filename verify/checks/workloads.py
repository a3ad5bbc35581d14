"""What runs: whether all that is declared does."""

from verify.asked import Each, UnaskedError
from verify.cluster import Cluster, Manifest, condition, namespaced
from verify.declared import Declared, Inputs, differences, known


def test_deployments(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared Deployment runs the declared image and command."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        live = {one["name"]: one for one in found["spec"]["template"]["spec"]["containers"]}
        return [
            f"{one['name']}: {fault}"
            for one in inputs["spec"]["template"]["spec"]["containers"]
            for key in ("image", "command", "args")
            if key in one
            for fault in differences(one[key], live.get(one["name"], {}).get(key), key)
        ]

    each(namespaced(declared, "apps:Deployment"), judge)


def test_available(each: Each, cluster: Cluster) -> None:
    """Every Deployment of the stack, those of charts too, is available as it was last changed."""

    def judge(item: Manifest) -> str | None:
        if item.get("status", {}).get("observedGeneration", 0) < item["metadata"]["generation"]:
            return "its last change was not acted upon"
        return condition(item, "Available")

    each(_needing_nodes(cluster, "apps/v1", "Deployment"), judge)


def test_stateful_sets(each: Each, cluster: Cluster) -> None:
    """All pods of every StatefulSet are ready."""

    def judge(item: Manifest) -> str | None:
        ready, wanted = item.get("status", {}).get("readyReplicas", 0), item["spec"].get("replicas", 1)
        return None if ready >= wanted else f"{ready} of {wanted} pods are ready"

    each(_needing_nodes(cluster, "apps/v1", "StatefulSet"), judge)


def test_daemon_sets(each: Each, cluster: Cluster) -> None:
    """Every DaemonSet is ready on all its nodes."""

    def judge(item: Manifest) -> str | None:
        status = item.get("status", {})
        ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        return None if ready >= wanted else f"is ready on {ready} of {wanted} nodes"

    each(_needing_nodes(cluster, "apps/v1", "DaemonSet"), judge)


def test_jobs(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared Job, such as those that make the users of the databases, is done."""

    def judge(inputs: Inputs) -> str | None:
        _running(cluster)
        found = cluster.live(inputs)
        return "is missing" if found is None else condition(found, "Complete")

    each(namespaced(declared, "batch:Job"), judge)


def test_no_pod_fails(each: Each, cluster: Cluster) -> None:
    """No pod waits for a place, an image or a start, and none is killed for its memory."""

    def judge(item: Manifest) -> list[str]:
        status = item.get("status", {})
        states = [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
        faults = [
            f"{state['name']} waits: {reason}"
            for state in states
            if (reason := state.get("state", {}).get("waiting", {}).get("reason")) not in (None, "ContainerCreating")
        ]
        faults += [
            f"{state['name']} was killed for its memory"
            for state in states
            if state.get("lastState", {}).get("terminated", {}).get("reason") == "OOMKilled"
        ]
        if status.get("phase") in ("Pending", "Failed", "Unknown") and not faults:
            faults.append(f"is {status['phase']}: {status.get('message') or condition(item, 'PodScheduled') or ''}")
        return faults

    each(_needing_nodes(cluster, "v1", "Pod"), judge)


def test_disruption_budgets(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared PodDisruptionBudget is there, as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences(inputs["spec"], found["spec"]))

    each(namespaced(declared, "policy:PodDisruptionBudget"), judge)


def test_disruption_is_possible(each: Each, cluster: Cluster) -> None:
    """No PodDisruptionBudget keeps a node from ever being drained."""

    def judge(item: Manifest) -> str | None:
        status = item.get("status", {})
        if status.get("expectedPods", 0) == 0 or status.get("disruptionsAllowed", 0) > 0:
            return None
        return f"allows none of {status['expectedPods']} pods to be moved"

    each(_needing_nodes(cluster, "policy/v1", "PodDisruptionBudget"), judge)


def test_autoscalers(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared autoscaler is there, with its bounds."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        bounds = ("minReplicas", "maxReplicas", "scaleTargetRef")
        wanted = {key: inputs["spec"][key] for key in bounds if key in inputs["spec"] and known(inputs["spec"][key])}
        return list(differences(wanted, found["spec"]))

    each(namespaced(declared, "autoscaling:HorizontalPodAutoscaler"), judge)


def test_autoscalers_act(each: Each, cluster: Cluster) -> None:
    """Every autoscaler reads the metric that it goes by."""

    def judge(item: Manifest) -> str | None:
        _running(cluster)
        return condition(item, "ScalingActive")

    each(cluster.in_namespaces("autoscaling/v2", "HorizontalPodAutoscaler"), judge)


def test_spread(each: Each, declared: Declared, cluster: Cluster) -> None:
    """The pods of a service that has several are not all on one node."""
    pods = cluster.in_namespaces("v1", "Pod").values()

    def judge(inputs: Inputs) -> str | None:
        if len(cluster.nodes) < 2:
            raise UnaskedError("the cluster has one node")
        labels = inputs["spec"]["selector"]["matchLabels"].items()
        nodes = [
            pod["spec"].get("nodeName")
            for pod in pods
            if pod["metadata"]["namespace"] == inputs["metadata"]["namespace"]
            and labels <= (pod["metadata"].get("labels") or {}).items()
            and pod.get("status", {}).get("phase") == "Running"
        ]
        if len(nodes) < 2:
            raise UnaskedError("it has one pod")
        return None if len(set(nodes)) > 1 else f"all {len(nodes)} pods are on {nodes[0]}"

    each(namespaced(declared, "apps:Deployment"), judge)


def _needing_nodes(cluster: Cluster, version: str, kind: str) -> dict[str, Manifest]:
    found = cluster.in_namespaces(version, kind)
    if found:
        # Raises where there is none.
        _ = cluster.nodes
    return found


def _running(cluster: Cluster) -> None:
    """Raise where nothing that is put on a node runs."""
    _ = cluster.machines

"""Waiting for what was made, as the provider of Kubernetes does: the same conditions, timeouts and annotations.

https://github.com/pulumi/pulumi-kubernetes/tree/v4.34.2/provider/pkg/await. Of Services and Ingresses, which that one
awaits too, nothing is awaited here.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from rehearsal.kubernetes.api import Api, Manifest
from rehearsal.protocol import NotReadyError

REFUSED = "NoNodeIsAdded"
"""Reason of the event that tells why a pod gets no node."""
_SKIP, _TIMEOUT = "pulumi.com/skipAwait", "pulumi.com/timeoutSeconds"
_DEFAULT_SECONDS = 600
_VOLUME_SECONDS = 300
_POLL_SECONDS = 0.3
_QUIET_SECONDS = 3.0
SETTLED_SECONDS = 30.0
"""How long what keeps pods from running must stay the same until it is taken to stay so."""
_SECTIONS = {
    "notebooks": "notebooks",
    "pipelines": "pipelines",
    "serving": "serving",
    "spark": "spark",
    "training": "training",
}
"""Namespace → the section of a stack's file whose `quota` it has."""


def settle(api: Api, made: Manifest, stack: str, seconds: float) -> Manifest:
    """Wait until an object is ready.

    Args:
        made: The object as the API server answered its change.
        stack: Whose file the settings are in that an error names.
        seconds: The resource's own timeout; 0 means that of its annotation, else that of its kind.

    Returns:
        The object as it is then.

    Raises:
        NotReadyError: It is not ready in time, has failed, or its pods will find no node; the message names them,
            the scheduler's own reason and the setting.
    """
    ready = _READY.get(f"{made['apiVersion']}/{made['kind']}")
    notes = made["metadata"].get("annotations", {})
    if ready is None or notes.get(_SKIP) == "true":
        return made
    default = _VOLUME_SECONDS if made["kind"] == "PersistentVolumeClaim" else _DEFAULT_SECONDS
    limit = seconds or float(notes.get(_TIMEOUT, default))
    started = time.monotonic()
    hindered, since = "", started
    while True:
        live = api.get(made)
        if ready(api, live):
            return live
        now = time.monotonic()
        against = _failure(live)
        if against is None and now - started > _QUIET_SECONDS:
            found = _hindrance(api, live)
            if found != hindered:
                hindered, since = found, now
            if hindered and now - since > SETTLED_SECONDS:
                against = hindered.replace("falaj:stack", f"stacks/Pulumi.{stack}.yaml: falaj:stack")
        if against is None and now - started > limit:
            against = f"it is not ready after {limit:.0f} s"
        if against is not None:
            name = f"{live['metadata'].get('namespace', '')}/{live['metadata']['name']}"
            raise NotReadyError(f"{live['kind']} {name} does not become ready: {against}", live)
        time.sleep(_POLL_SECONDS)


def _conditions(live: Manifest) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in live.get("status", {}).get("conditions") or []}


def _observed(live: Manifest) -> bool:
    return bool(live.get("status", {}).get("observedGeneration", 0) >= live["metadata"]["generation"])


def _deployment(_: Api, live: Manifest) -> bool:
    """Available, and all pods of the newest revision ready; after the first one, its ReplicaSet complete too."""
    status, wanted, conditions = live.get("status", {}), live["spec"].get("replicas", 1), _conditions(live)
    first = live["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision") == "1"
    rolled = conditions.get("Progressing", {}).get("reason") == "NewReplicaSetAvailable"
    return (
        _observed(live)
        and conditions.get("Available", {}).get("status") == "True"
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("readyReplicas", 0) >= wanted
        and (first or rolled)
    )


def _stateful_set(_: Api, live: Manifest) -> bool:
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    counted = [status.get(key, 0) for key in ("replicas", "readyReplicas")]
    if live["spec"].get("updateStrategy", {}).get("type") == "OnDelete":
        return _observed(live) and counted == [wanted] * 2
    return (
        _observed(live)
        and [*counted, status.get("currentReplicas", 0)] == [wanted] * 3
        and status.get("updateRevision") == status.get("currentRevision")
    )


def _daemon_set(_: Api, live: Manifest) -> bool:
    status = live.get("status", {})
    wanted = status.get("desiredNumberScheduled", 0)
    keys = ("currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady")
    return _observed(live) and all(status.get(key, 0) >= wanted for key in keys)


def _job(_: Api, live: Manifest) -> bool:
    return _conditions(live).get("Complete", {}).get("status") == "True"


def _pod(_: Api, live: Manifest) -> bool:
    return (
        live.get("status", {}).get("phase") == "Succeeded" or _conditions(live).get("Ready", {}).get("status") == "True"
    )


def _claim(api: Api, live: Manifest) -> bool:
    """Bound, or pending where its class waits for the first pod."""
    phase = live.get("status", {}).get("phase")
    name = live["spec"].get("storageClassName", "")
    classes = {item["metadata"]["name"]: item for item in api.items("storage.k8s.io/v1", "StorageClass")}
    waits = classes.get(name, {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    return phase == "Bound" or (waits and phase == "Pending")


_READY: Mapping[str, Callable[[Api, Manifest], bool]] = {
    "apps/v1/Deployment": _deployment,
    "apps/v1/StatefulSet": _stateful_set,
    "apps/v1/DaemonSet": _daemon_set,
    "batch/v1/Job": _job,
    "v1/Pod": _pod,
    "v1/PersistentVolumeClaim": _claim,
}


def _failure(live: Manifest) -> str | None:
    """Why an object will never be ready, where it says so itself."""
    failed = _conditions(live).get("Failed", {})
    if live["kind"] == "Job" and failed.get("status") == "True":
        return f"{failed.get('reason')}: {failed.get('message')}"
    return None


def _hindrance(api: Api, live: Manifest) -> str:
    """What keeps an object's pods from being made or from a node, with the setting; empty where nothing does."""
    refused = _refused(api, live)
    if refused:
        namespace = live["metadata"]["namespace"]
        setting = f" (falaj:stack.{_SECTIONS[namespace]}.quota)" if namespace in _SECTIONS else ""
        return f"its pods are refused: {refused}{setting}"
    for pod in _pods(api, live):
        scheduled = _conditions(pod).get("PodScheduled", {})
        if scheduled.get("reason") != "Unschedulable":
            continue
        named = f"involvedObject.uid={pod['metadata']['uid']},reason={REFUSED}"
        told = api.items("v1", "Event", pod["metadata"]["namespace"], fieldSelector=named)
        if told:
            why = max(told, key=lambda event: int(event["metadata"]["resourceVersion"]))["message"]
            return f"pod {pod['metadata']['name']} is pending: {scheduled['message']} No node is added: {why}"
    return ""


def _refused(api: Api, live: Manifest) -> str | None:
    """Why the API server takes no pods of an object, such as a quota; in the words of its last try."""
    metadata = live["metadata"]
    failure = _conditions(live).get("ReplicaFailure", {})
    if failure.get("status") == "True":
        return _unnamed(str(failure["message"]))
    found = api.items(
        "v1",
        "Event",
        metadata.get("namespace"),
        fieldSelector=f"involvedObject.uid={metadata['uid']},type=Warning,reason=FailedCreate",
    )
    wanted = live["spec"].get("replicas", live["spec"].get("parallelism", 1))
    if not found or len(_pods(api, live)) >= wanted:
        return None
    return _unnamed(str(max(found, key=lambda event: event.get("lastTimestamp") or "")["message"]))


def _unnamed(message: str) -> str:
    """The message without the name of the pod, which is another at each try."""
    before, forbidden, reason = message.partition(" is forbidden: ")
    return reason if forbidden else before


def _pods(api: Api, live: Manifest) -> list[Manifest]:
    if live["kind"] == "Pod":
        return [live]
    labels = live["spec"].get("selector", {}).get("matchLabels", {})
    chosen = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return api.items("v1", "Pod", live["metadata"]["namespace"], labelSelector=chosen) if chosen else []

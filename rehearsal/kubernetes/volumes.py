"""Volumes for claims, in the place of the storage drivers, whose pods do not run."""

from rehearsal.kubernetes.api import Api, Manifest
from rehearsal.kubernetes.nodes import ZONE

_BY = "falaj.ae/rehearsal"
_NODE = "volume.kubernetes.io/selected-node"


def provide(api: Api) -> None:
    """Make a volume for each claim that may have one, and take those away whose claim is gone.

    A claim of a class that waits for its first pod gets one in the zone of the node that the scheduler chose.
    """
    for volume in api.items("v1", "PersistentVolume"):
        if volume.get("status", {}).get("phase") == "Released" and _BY in volume["metadata"].get("annotations", {}):
            api.remove(volume)
    claims = [claim for claim in api.items("v1", "PersistentVolumeClaim") if "volumeName" not in claim["spec"]]
    if not claims:
        return
    classes = {item["metadata"]["name"]: item for item in api.items("storage.k8s.io/v1", "StorageClass")}
    made = {volume["metadata"]["name"] for volume in api.items("v1", "PersistentVolume")}
    for claim in claims:
        storage = classes.get(claim["spec"].get("storageClassName", ""))
        node = claim["metadata"].get("annotations", {}).get(_NODE)
        if storage is None or "deletionTimestamp" in claim["metadata"]:
            continue
        waits = storage.get("volumeBindingMode") == "WaitForFirstConsumer"
        volume = _volume(claim, storage["provisioner"], _zone(api, node) if node else None)
        if volume["metadata"]["name"] not in made and (node or not waits):
            api.create(volume)


def _zone(api: Api, node: str) -> str | None:
    found = api.get({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    zone: str | None = found["metadata"]["labels"].get(ZONE)
    return zone


def _volume(claim: Manifest, driver: str, zone: str | None) -> Manifest:
    metadata, spec = claim["metadata"], claim["spec"]
    rule = {"key": ZONE, "operator": "In", "values": [zone]}
    within = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        # What says who provided it keeps Kubernetes' own controller from deleting it.
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {_BY: "provided", "pv.kubernetes.io/provisioned-by": driver},
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            # Nothing mounts it.
            "hostPath": {"path": f"/nowhere/{metadata['uid']}"},
            **({"nodeAffinity": within} if zone else {}),
        },
    }

"""Machines must be what their pool says: of one architecture, one version, and more than none."""

from collections.abc import Iterator

from infra.checks.objects import Objects
from infra.config.offerings import offering

_TYPE, _ARCH = "node.kubernetes.io/instance-type", "kubernetes.io/arch"


def machines(objects: Objects) -> Iterator[str]:
    """Node groups and pools that could not start a machine, or whose machines would not join."""
    versions = {str(one.inputs.get("version")) for one in objects.named("aws:eks/cluster:Cluster")}
    groups = objects.named("aws:eks/nodeGroup:NodeGroup")
    if versions and not groups:
        yield "the cluster has no node group, and what starts all other machines runs on one"
    for group in groups:
        here = f"NodeGroup {group.name}"
        if group.inputs.get("version") not in {None, *versions}:
            yield f"{here} is of version {group.inputs['version']}, and the cluster of {', '.join(sorted(versions))}"
        scaling = group.inputs["scalingConfig"]
        if not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
            yield f"{here} has {scaling['desiredSize']} machines, of {scaling['minSize']} to {scaling['maxSize']}"
        image = "arm64" if "ARM_64" in group.inputs.get("amiType", "") else "amd64"
        for name in group.inputs["instanceTypes"]:
            if offering(name).arch != image:
                yield f"{here} has machines of {name}, and an image for {image}"
    for _, pool in sorted(objects.of("NodePool").items()):
        spec = pool.inputs["spec"]
        asked = {one["key"]: one.get("values", []) for one in spec["template"]["spec"]["requirements"]}
        for name in asked.get(_TYPE, []):
            if _ARCH in asked and offering(name).arch not in asked[_ARCH]:
                yield f"NodePool {pool.name} takes {name}, which is no {' or '.join(asked[_ARCH])}: none would do"
        for key, most in spec.get("limits", {}).items():
            if most in ("0", 0):
                yield f"NodePool {pool.name} may have no {key}: it never starts a machine"

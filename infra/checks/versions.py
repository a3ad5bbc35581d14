"""Training and serving run one image, and so one Python and one set of libraries."""

import re
from collections.abc import Iterator

from infra.checks.objects import Objects

_OURS = re.compile(r"(?:^|/)falaj/platform(?P<gpu>-gpu)?[:@](?P<version>\S+)$")


def versions(objects: Objects) -> Iterator[str]:
    """Containers with another version of our image than the rest of the stack."""
    seen: dict[str, dict[str, str]] = {}
    for resource in objects.graph.resources:
        if not (resource.custom and resource.type.startswith("kubernetes:")):
            continue
        for image in _images(resource.inputs):
            match = _OURS.search(image)
            if match is not None:
                where = f"{resource.type.rpartition(':')[2]} {resource.name}"
                seen.setdefault(match["gpu"] or "", {}).setdefault(match["version"], where)
    for found in seen.values():
        if len(found) > 1:
            told = ", ".join(f"{version} ({where})" for version, where in sorted(found.items()))
            yield f"the platform's image is there in {len(found)} versions: {told}; use cluster.image(pins().image(…))"


def _images(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "image" and isinstance(item, str):
                yield item
            else:
                yield from _images(item)
    elif isinstance(value, list):
        for item in value:
            yield from _images(item)

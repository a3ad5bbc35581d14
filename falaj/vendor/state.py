"""How far pins.yaml, the lock and `vendor/` agree."""

from collections.abc import Iterator
from pathlib import Path

from core.images import Lock, LockedChart, LockedManifest
from core.pins import Pins
from falaj.vendor.folders import folder_digest

Finding = tuple[str, str]
"""What, and what is the matter with it."""


def current(pins: Pins, lock: Lock) -> Lock:
    """The lock at the pins' versions; what was known of another version is forgotten."""
    charts, manifests = dict[str, LockedChart](), dict[str, LockedManifest]()
    for name, pin in sorted(pins.charts.items()):
        chart = lock.charts.get(name)
        charts[name] = chart if chart and chart.version == pin.version else LockedChart(version=pin.version)
    for name, folder in sorted(pins.manifests.items()):
        found = lock.manifests.get(name)
        manifests[name] = found if found and found.version == folder.version else LockedManifest(version=folder.version)
    return Lock(charts=charts, manifests=manifests, images=lock.images)


def strange(lock: Lock, vendor: Path) -> list[Path]:
    """Folders of `vendor` that the lock does not have."""
    kept = {vendor / "charts" / name for name in lock.charts} | {vendor / "manifests" / name for name in lock.manifests}
    there = [path for kind in ("charts", "manifests") for path in (vendor / kind).glob("*")]
    return sorted(set(there) - kept)


def stale(lock: Lock, now: Lock) -> Iterator[Finding]:
    """Where the lock has another version than the pins; `now` is what `current` gives."""
    for kind, had, has in (("chart", lock.charts, now.charts), ("manifest", lock.manifests, now.manifests)):
        for name in sorted(had.keys() | has.keys()):
            was, wanted = (locked[name].version if name in locked else "none" for locked in (had, has))
            if was != wanted:
                yield f"{kind} {name}", f"pins.yaml has {wanted}, the lock {was}: run `falaj vendor`"


def unpulled(lock: Lock, vendor: Path) -> Iterator[Finding]:
    """Charts and manifests that `vendor` lacks, or has otherwise than the lock says."""
    for kind, locked in (("chart", lock.charts), ("manifest", lock.manifests)):
        for name, item in locked.items():
            folder = vendor / f"{kind}s" / name
            if not folder.is_dir():
                yield f"{kind} {name}", f"not in {vendor.name}/{kind}s: run `falaj vendor`"
            elif item.digest is not None and folder_digest(folder) != item.digest:
                yield f"{kind} {name}", f"{vendor.name}/{kind}s/{name} was changed: run `falaj vendor`"


def unknown(lock: Lock) -> Iterator[Finding]:
    """What the lock has no digest of."""
    kinds = (("chart", lock.charts), ("manifest", lock.manifests))
    names = [f"{kind} {name}" for kind, locked in kinds for name, item in locked.items() if item.digest is None]
    names += [f"image {image.tagged}" for image in lock.images if image.digest is None]
    yield from ((name, "digest not known: run `falaj vendor` where its publisher can be reached") for name in names)


def unlisted(lock: Lock, used: Lock) -> Iterator[Finding]:
    """Where the lock's images are not those that are used."""
    had, has = ({image.reference for image in found.images} for found in (lock, used))
    yield from ((f"image {name}", "used, and not locked: run `falaj vendor --lock-only`") for name in sorted(has - had))
    yield from ((f"image {name}", "locked, and not used: run `falaj vendor --lock-only`") for name in sorted(had - has))

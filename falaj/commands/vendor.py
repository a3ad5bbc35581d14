"""`falaj vendor`: bring charts and manifests into the repository's folder, and lock what they are and run."""

import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import ConfigError
from core.images import FILE, Lock
from core.pins import Pins, pins
from falaj import console
from falaj.commands import plan
from falaj.environment import ROOT
from falaj.vendor import images, pull, registry, state
from falaj.vendor.folders import VendorError
from tools import build

VENDOR = ROOT / "vendor"
_SAFE = re.compile(r"https://|http://(127\.0\.0\.1|localhost)[:/]")


def vendor(
    stack: Annotated[
        list[str] | None, typer.Option(help="Look for images in this stack's plan; again for more. Default: every one.")
    ] = None,
    charts: Annotated[
        str | None,
        typer.Option(
            help="A mirror of all chart repositories, as `sources.charts` of a stack names it.", metavar="URL"
        ),
    ] = None,
    digests: Annotated[
        bool,
        typer.Option(
            " /--no-digests",
            help="Note no new digest: where no registry can be reached, or what is pulled is not its publisher's.",
        ),
    ] = True,
    lock_only: Annotated[
        bool, typer.Option("--lock-only", help="Pull nothing: write the lock from what vendor/ holds.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: list what is stale, missing or not known yet.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(help="Copy every locked image into this registry, and note the digests of our own from it."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --mirror: print the commands alone.")] = False,
    bill: Annotated[
        Path | None, typer.Option("--bom", help="Write the bill of materials (CycloneDX 1.6, JSON) to this file.")
    ] = None,
) -> None:
    """Pull every chart and manifest of pins.yaml into vendor/, and lock them and the images that the stacks use.

    What is there and as the lock says is left alone; a version that changed upstream since it was locked is refused.
    """
    acts = [name for name, asked in (("--check", check), ("--mirror", mirror), ("--bom", bill)) if asked]
    if len(acts) > 1:
        raise ConfigError(f"{' and '.join(acts)} are different acts: name one")
    if acts and (charts is not None or lock_only):
        raise ConfigError(f"{acts[0]} pulls nothing: leave out --charts and --lock-only")
    if charts is not None and not _SAFE.match(charts):
        raise ConfigError(f"--charts is {charts}: name a mirror that is reached by https")
    if dry_run and mirror is None:
        raise ConfigError("--dry-run is for --mirror: name the registry, or use --check")
    if bill is not None:
        from falaj.vendor import bom

        bill.write_text(bom.bill(Lock.read(FILE), pins(), ROOT / "uv.lock"))
        console.say(f"wrote {bill}")
    elif mirror is not None:
        _mirror(mirror.rstrip("/"), dry_run)
    elif check:
        build.ensure("vendor")
        _check(stack)
    else:
        build.ensure("vendor")
        _vendor(stack, charts, digests=digests, pulls=not lock_only)


def _vendor(stack: Sequence[str] | None, charts: str | None, *, digests: bool, pulls: bool) -> None:
    known = pins()
    # Written before the stacks are planned: a plan reads it.
    lock = _noted(state.current(known, Lock.read(FILE) if FILE.exists() else Lock()))
    if pulls:
        lock = _pull(known, lock, charts, digests)
    found = _find(stack, known)
    lock = _noted(lock, images=images.locked(found, lock.images))
    if digests:
        with console.working("asking registries for the digests of images"):
            resolved = registry.resolve(lock.images)
        lock = _noted(lock, images=resolved)
    console.say(f"{FILE.name}: {len(lock.charts)} charts, {len(lock.manifests)} manifests, {len(lock.images)} images")
    if faults := _faults(found):
        raise VendorError("\n  ".join(["not all images come from the stack's registry with a version:", *faults]))


def _pull(known: Pins, lock: Lock, mirror: str | None, digests: bool) -> Lock:
    """Have everything in vendor/, and nothing else; what came is locked even where a later one fails."""
    count = len(known.charts) + len(known.manifests)
    for number, (name, chart) in enumerate(lock.charts.items(), 1):
        with console.working(f"[{number}/{count}] chart {name} {chart.version}"):
            chart = pull.chart(known.chart(name), chart, VENDOR, mirror)
        if digests:
            lock = _noted(lock, charts={**lock.charts, name: chart})
    for number, (name, manifest) in enumerate(lock.manifests.items(), 1 + len(lock.charts)):
        with console.working(f"[{number}/{count}] manifest {name} {manifest.version}"):
            manifest = pull.manifest(known.manifest(name), manifest, VENDOR)
        if digests:
            lock = _noted(lock, manifests={**lock.manifests, name: manifest})
    for folder in state.strange(lock, VENDOR):
        shutil.rmtree(folder)
        console.say(f"removed {_short(folder)}: pins.yaml has no such name")
    return lock


def _noted(lock: Lock, **changes: Any) -> Lock:
    """The lock with changes, written at once where it differs from the file."""
    lock = lock.model_copy(update=changes)
    text = lock.to_yaml()
    if not FILE.exists() or FILE.read_text() != text:
        temporary = FILE.with_suffix(".part")
        temporary.write_text(text)
        temporary.replace(FILE)
    return lock


def _find(stack: Sequence[str] | None, known: Pins) -> images.Found:
    from infra.plan import stacks

    graphs = []
    for name in stack or stacks(ROOT):
        with console.working(f"planning stack {name}"):
            graph = plan.graph(name)
        if any(resource.type.startswith("kubernetes:") for resource in graph.resources):
            graphs.append(graph)
    with console.working("rendering the charts of " + ", ".join(graph.stack for graph in graphs)):
        return images.find(graphs, VENDOR, known)


def _faults(found: images.Found) -> list[str]:
    outside = [f"{user} runs {image}: take it from the cluster's registry" for user, image in found.outside]
    untagged = [f"{user} names {image} without a version: set its tag" for user, image in found.untagged]
    return sorted([*outside, *untagged])


def _check(stack: Sequence[str] | None) -> None:
    known, lock = pins(), Lock.read(FILE)
    now = state.current(known, lock)
    findings = [*state.stale(lock, now), *state.unknown(now)]
    findings += [(_short(folder), "is in no pin: run `falaj vendor`") for folder in state.strange(now, VENDOR)]
    if unpulled := [*state.unpulled(now, VENDOR)]:
        findings += [*unpulled, ("images", "cannot be looked for without all charts")]
    else:
        found = _find(stack, known)
        used = lock.model_copy(update={"images": images.locked(found, lock.images)})
        # Some stacks alone use some of the images alone.
        findings += [] if stack else state.unlisted(lock, used)
        findings += [("images", fault) for fault in _faults(found)]
    if findings:
        console.table(["what", "state"], findings)
        raise VendorError(f"{len(findings)} findings")
    console.say(f"{FILE.name} and {_short(VENDOR)} are whole")


def _mirror(target: str, dry_run: bool) -> None:
    lock = Lock.read(FILE)
    if dry_run:
        for line in registry.copies(lock.images, target):
            console.out.print(shlex.join(line), soft_wrap=True)
        return
    build.ensure("vendor")
    had = {image.reference for image in lock.images}
    _noted(lock, images=registry.mirror(lock.images, target, console.say))
    if new := [image.reference for image in Lock.read(FILE).images if image.reference not in had]:
        console.say("digests noted: " + ", ".join(new))
    console.say(f"{target} has the images of {FILE.name}")


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)

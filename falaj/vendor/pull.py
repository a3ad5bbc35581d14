"""Charts and manifests at their pins: from the network into `vendor/`, checked against the lock."""

import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from core.images import LockedChart, LockedManifest
from core.pins import Chart, Manifest
from falaj.vendor.folders import VendorError, command, copy_tree, folder_digest, replaced, unpack

_LOCAL = ("127.0.0.1", "localhost", "::1")
_QUIET_GIT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}


def chart(pin: Chart, locked: LockedChart | None, vendor: Path, mirror: str | None) -> LockedChart:
    """Have `vendor/charts/<name>` be the chart at its pin.

    Args:
        locked: What the lock says of it; a folder that is already so is left alone.
        mirror: Stands for all chart repositories: the chart's index is at `<mirror>/<name>/index.yaml`.

    Returns:
        What the lock is to say.

    Raises:
        VendorError: It cannot be had, is broken, or differs from the lock at the same version.
    """
    known = locked.digest if locked is not None and locked.version == pin.version else None
    target = vendor / "charts" / pin.name
    if known is None or not _is(target, known):
        with replaced(target) as folder:
            _pull(pin, folder, mirror)
            known = _same(f"chart {pin.name} {pin.version}", known, folder_digest(folder))
    return LockedChart(version=pin.version, digest=known)


def manifest(pin: Manifest, locked: LockedManifest | None, vendor: Path) -> LockedManifest:
    """Have `vendor/manifests/<name>` be the folder of the manifests at their tag; otherwise as `chart`.

    Raises:
        VendorError: As for `chart`.
    """
    current = locked if locked is not None and locked.version == pin.version else LockedManifest(version=pin.version)
    target = vendor / "manifests" / pin.name
    if current.digest is not None and _is(target, current.digest):
        return current
    with replaced(target) as folder:
        commit = _check_out(pin, folder)
        digest = _same(f"manifest {pin.name} {pin.version}", current.digest, folder_digest(folder))
    return LockedManifest(version=pin.version, commit=commit, digest=digest)


def _is(folder: Path, digest: str) -> bool:
    return folder.is_dir() and folder_digest(folder) == digest


def _same(what: str, known: str | None, found: str) -> str:
    if known is not None and known != found:
        raise VendorError(
            f"{what} is not what it was: the lock has {known}, and {found} came. A published version never changes: "
            "find out why; if it is to be accepted, set its digest in images.lock.yaml to null and run again"
        )
    return found


def _pull(pin: Chart, folder: Path, mirror: str | None) -> None:
    repository = pin.repository if mirror is None else f"{mirror.rstrip('/')}/{pin.name}"
    address = [f"{repository}/{pin.name}"] if repository.startswith("oci://") else [pin.name, "--repo", repository]
    plain = ["--plain-http"] if repository.startswith("oci://") and urlsplit(repository).hostname in _LOCAL else []
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        try:
            command(["helm", "pull", *address, "--version", pin.version, "--destination", beside, *plain])
        except VendorError as error:
            raise VendorError(
                f"chart {pin.name} {pin.version} cannot be had: {error}\nName a mirror with --charts where "
                f"{repository} cannot be reached, or correct charts.{pin.name} in pins.yaml."
            ) from error
        archives = list(Path(beside).glob("*.tgz"))
        if len(archives) != 1:
            raise VendorError(f"helm left {len(archives)} archives of chart {pin.name}, not one: run again")
        unpack(archives[0], folder)
    _check_chart(pin, folder)


def _check_chart(pin: Chart, folder: Path) -> None:
    try:
        about = yaml.safe_load((folder / "Chart.yaml").read_bytes())
        found = about["name"], str(about["version"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise VendorError(f"what came as chart {pin.name} has no valid Chart.yaml ({error}): do not use it") from error
    if (found[0], found[1].removeprefix("v")) != (pin.name, pin.version.removeprefix("v")):
        raise VendorError(
            f"what came as chart {pin.name} {pin.version} calls itself {found[0]} {found[1]}: "
            f"correct charts.{pin.name} in pins.yaml, or the mirror"
        )


def _check_out(pin: Manifest, folder: Path) -> str:
    """Fetch the tag alone, and of it the folder alone where the server can."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:

        def git(*arguments: str) -> str:
            return command(["git", *arguments], folder=Path(beside), environment=_QUIET_GIT)

        git("init", "--quiet")
        git("remote", "add", "origin", pin.repository)
        try:
            git("fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", f"refs/tags/{pin.version}")
        except VendorError as error:
            raise VendorError(
                f"manifest {pin.name} {pin.version} cannot be had: {error}\nHave Git take a mirror with "
                f"`git config --global url.<mirror>.insteadOf {pin.repository}` where it cannot be reached, or correct "
                f"manifests.{pin.name} in pins.yaml."
            ) from error
        git("sparse-checkout", "set", "--no-cone", f"/{pin.path}/")
        git("-c", "core.autocrlf=false", "checkout", "--quiet", "FETCH_HEAD")
        source = Path(beside) / pin.path
        if not source.is_dir():
            raise VendorError(
                f"{pin.repository} has no folder {pin.path} at {pin.version}: correct manifests.{pin.name} in pins.yaml"
            )
        copy_tree(source, folder)
        commit = git("rev-parse", "HEAD").strip()
    if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", commit) is None:
        raise VendorError(f"git names the commit of {pin.repository} {commit}: run again with a newer git")
    return commit

import io
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.images import LockedChart, LockedManifest
from core.pins import Chart, Manifest
from falaj.vendor import folders, pull
from falaj.vendor.folders import VendorError, command, folder_digest
from tests.vendor.conftest import ChartRepository, commit, make_chart

PIN = Chart(name="moon", repository="https://charts.example.org", version="1.0.0")


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def nothing_is_left(vendor: Path) -> bool:
    return not [path for kind in ("charts", "manifests") for path in (vendor / kind).glob("*")]


def test_a_chart_is_pulled_once(charts: ChartRepository, tmp_path: Path) -> None:
    charts.publish("moon", "1.0.0")
    locked = pull.chart(PIN, LockedChart(version="1.0.0"), tmp_path / "vendor", charts.address)
    folder = tmp_path / "vendor" / "charts" / "moon"
    assert locked == LockedChart(version="1.0.0", digest=folder_digest(folder))
    assert sorted(content(folder)) == ["Chart.yaml", "templates/moon.yaml", "values.yaml"]
    assert [path.name for path in folder.parent.iterdir()] == ["moon"]
    # Nobody answers at this address: what is there is not asked for again.
    assert pull.chart(PIN, locked, tmp_path / "vendor", "http://127.0.0.1:9") == locked


def test_a_changed_folder_is_pulled_again(charts: ChartRepository, tmp_path: Path) -> None:
    charts.publish("moon", "1.0.0")
    locked = pull.chart(PIN, None, tmp_path / "vendor", charts.address)
    folder = tmp_path / "vendor" / "charts" / "moon"
    before = content(folder)
    (folder / "templates" / "moon.yaml").write_text("apiVersion: v1")
    (folder / "templates" / "more.yaml").write_text("apiVersion: v1")
    assert pull.chart(PIN, locked, tmp_path / "vendor", charts.address) == locked
    assert content(folder) == before


def test_a_version_that_changed_upstream_is_refused(charts: ChartRepository, tmp_path: Path) -> None:
    charts.publish("moon", "1.0.0")
    locked = pull.chart(PIN, None, tmp_path / "first", charts.address)
    charts.publish("moon", "1.0.0", {"moon.yaml": "apiVersion: v1\nkind: Secret\n"})
    with pytest.raises(VendorError, match=r"chart moon 1\.0\.0 is not what it was: the lock has sha256:"):
        pull.chart(PIN, locked, tmp_path / "second", charts.address)
    assert nothing_is_left(tmp_path / "second")
    # Another version has a digest of its own.
    charts.publish("moon", "1.1.0")
    newer = PIN.model_copy(update={"version": "1.1.0"})
    assert pull.chart(newer, locked, tmp_path / "first", charts.address).version == "1.1.0"


def test_a_chart_comes_from_an_oci_registry(registries: list[str], tmp_path: Path) -> None:
    archive = make_chart(tmp_path, "moon", "1.0.0", {})
    command(["helm", "push", str(archive), f"oci://{registries[0]}/charts", "--plain-http"])
    pin = Chart(name="moon", repository=f"oci://{registries[0]}/charts", version="1.0.0")
    locked = pull.chart(pin, None, tmp_path / "vendor", None)
    assert locked.digest == folder_digest(tmp_path / "vendor" / "charts" / "moon")


def test_who_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(VendorError, match=r"(?s)chart moon 1\.0\.0 cannot be had.*Name a mirror with --charts"):
        pull.chart(PIN, None, tmp_path, "http://127.0.0.1:9")
    assert nothing_is_left(tmp_path)


def packed(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            if text.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, text.removeprefix("-> ")
                tar.addfile(member)
            else:
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


ABOUT = "apiVersion: v2\nname: moon\nversion: 1.0.0\n"


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        (None, "is broken"),
        (b"<html>sign in</html>", "is broken"),
        (packed({"moon/Chart.yaml": ABOUT, "moon/../../escaped": ""}), "reaches outside"),
        (packed({"moon/Chart.yaml": ABOUT, "moon/link": "-> ../../../escaped"}), "reaches outside"),
        (packed({"moon/Chart.yaml": ABOUT, "sun/Chart.yaml": ABOUT}), "holds 2 folders"),
        (packed({"moon/values.yaml": ""}), "has no valid Chart.yaml"),
        (packed({"moon/Chart.yaml": ABOUT.replace("moon", "sun")}), r"calls itself sun 1\.0\.0"),
        (packed({"moon/Chart.yaml": ABOUT, "moon/x": "x" * (2 << 20)}), "more than 1 MiB"),
    ],
    ids=["half", "page", "path", "link", "two", "none", "other", "bomb"],
)
def test_a_bad_archive_leaves_nothing(
    instead: bytes | None,
    message: str,
    charts: ChartRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folders, "_MAX_BYTES", 1 << 20)
    archive = charts.publish("moon", "1.0.0")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2] if instead is None else instead)
    with pytest.raises(VendorError, match=message):
        pull.chart(PIN, None, tmp_path / "vendor", charts.address)
    assert nothing_is_left(tmp_path / "vendor")
    assert not list(tmp_path.rglob("escaped"))


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """What a full disk does to whoever writes, in this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_leaves_what_was_there(charts: ChartRepository, tmp_path: Path) -> None:
    charts.publish("moon", "1.0.0")
    vendor = tmp_path / "vendor"
    pull.chart(PIN, None, vendor, charts.address)
    before = content(vendor / "charts" / "moon")
    charts.publish("moon", "1.1.0", {"moon.yaml": "# " + "moon" * 10_000})
    newer = PIN.model_copy(update={"version": "1.1.0"})
    with (
        no_file_above(20_000),
        pytest.raises(VendorError, match=r"charts/moon cannot be written \(.*\): free room"),
    ):
        pull.chart(newer, None, vendor, charts.address)
    assert content(vendor / "charts" / "moon") == before
    assert [path.name for path in (vendor / "charts").iterdir()] == ["moon"]


def test_what_an_interrupted_run_left_is_removed(charts: ChartRepository, tmp_path: Path) -> None:
    charts.publish("moon", "1.0.0")
    left = tmp_path / "vendor" / "charts" / ".moon.part-abc"
    (left / "new").mkdir(parents=True)
    pull.chart(PIN, None, tmp_path / "vendor", charts.address)
    assert not left.exists()


def test_a_folder_of_manifests_is_pulled_once(published: Manifest, tmp_path: Path) -> None:
    locked = pull.manifest(published, None, tmp_path / "vendor")
    folder = tmp_path / "vendor" / "manifests" / "moon"
    assert sorted(content(folder)) == ["base/kustomization.yaml", "base/pod.yaml", "kustomization.yaml"]
    head = command(["git", "rev-parse", "v1.0.0"], folder=tmp_path / "upstream").strip()
    assert locked == LockedManifest(version="v1.0.0", commit=head, digest=folder_digest(folder))
    away = published.model_copy(update={"repository": (tmp_path / "nowhere").as_uri()})
    assert pull.manifest(away, locked, tmp_path / "vendor") == locked


def test_a_tag_that_moved_is_refused(published: Manifest, tmp_path: Path) -> None:
    locked = pull.manifest(published, None, tmp_path / "first")
    (tmp_path / "upstream" / "deploy" / "base" / "pod.yaml").write_text("apiVersion: v1\n")
    commit(tmp_path / "upstream", "v1.0.0")
    with pytest.raises(VendorError, match=r"manifest moon v1\.0\.0 is not what it was"):
        pull.manifest(published, locked, tmp_path / "second")
    assert nothing_is_left(tmp_path / "second")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "v2.0.0"}, r"(?s)manifest moon v2\.0\.0 cannot be had.*insteadOf"),
        ({"path": "deploy/moon"}, r"has no folder deploy/moon at v1\.0\.0: correct manifests\.moon"),
    ],
)
def test_a_pin_that_names_nothing_is_told(
    change: dict[str, str], message: str, published: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(VendorError, match=message):
        pull.manifest(published.model_copy(update=change), None, tmp_path / "vendor")
    assert nothing_is_left(tmp_path / "vendor")


def test_a_link_out_of_the_folder_is_refused(published: Manifest, tmp_path: Path) -> None:
    (tmp_path / "upstream" / "deploy" / "link").symlink_to("../elsewhere/large.txt")
    commit(tmp_path / "upstream", "v1.0.0")
    with pytest.raises(VendorError, match="link links to outside of its folder"):
        pull.manifest(published, None, tmp_path / "vendor")
    assert nothing_is_left(tmp_path / "vendor")

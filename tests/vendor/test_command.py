import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.images import Lock
from core.pins import Chart, Manifest
from falaj.cli import app
from falaj.commands import plan, vendor
from falaj.vendor.folders import VendorError
from tests.vendor.conftest import ChartRepository
from tests.vendor.test_images import OBJECTS, chart, graph, known


class Desk:
    """A repository of its own with one chart, one folder of manifests and one stack."""

    def __init__(self, folder: Path, charts: ChartRepository, manifest: Manifest, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.charts = folder, charts
        self.file, self.vendor = folder / "images.lock.yaml", folder / "vendor"
        moon = Chart(name="moon", repository="https://charts.example.org", version="1.0.0")
        self.pins = known(charts={"moon": moon}, manifests={"moon": manifest})
        self.graph = graph(chart())
        patch.setattr(vendor, "FILE", self.file)
        patch.setattr(vendor, "VENDOR", self.vendor)
        patch.setattr(vendor, "pins", lambda: self.pins)
        patch.setattr(vendor.build, "ensure", lambda _: None)
        patch.setattr(plan, "graph", lambda _: self.graph)

    def run(self, *arguments: str) -> str:
        """Run the command; gives what it printed as its result."""
        done = CliRunner().invoke(app, ["vendor", "--stack", "site", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def pull(self, *arguments: str) -> Lock:
        """Vendor from the charts' mirror; gives the lock."""
        self.run("--charts", self.charts.address, *arguments)
        return Lock.read(self.file)


@pytest.fixture
def desk(charts: ChartRepository, published: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    charts.publish("moon", "1.0.0", {"objects.yaml": OBJECTS})
    return Desk(tmp_path / "desk", charts, published, monkeypatch)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()


def own_alone(desk: Desk) -> None:
    """Have a chart that names no image of others, so that no registry is asked."""
    desk.charts.publish("moon", "1.0.0", {"objects.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: moon}\n"})


def test_everything_is_pulled_and_locked_and_a_second_run_changes_nothing(desk: Desk) -> None:
    own_alone(desk)
    lock = desk.pull()
    assert lock.charts["moon"].digest is not None
    assert lock.manifests["moon"].commit is not None
    assert [image.tagged for image in lock.images] == ["falaj/platform:0.1.0", "falaj/platform-gpu:0.1.0"]
    before = desk.file.stat().st_mtime_ns
    desk.charts.address = "http://127.0.0.1:9"
    assert desk.pull() == lock
    assert desk.file.stat().st_mtime_ns == before


def test_without_digests_nothing_new_is_noted(desk: Desk) -> None:
    lock = desk.pull("--no-digests")
    assert lock.charts["moon"].digest is None
    assert (lock.manifests["moon"].commit, lock.manifests["moon"].digest) == (None, None)
    assert [image.name for image in lock.images if image.digest] == ["ghcr.io/moon/worker"]
    assert (desk.vendor / "charts" / "moon" / "Chart.yaml").is_file()


def test_what_no_pin_names_any_more_goes(desk: Desk) -> None:
    desk.pull("--no-digests")
    desk.pins = desk.pins.model_copy(update={"manifests": {}})
    assert desk.pull("--no-digests").manifests == {}
    assert not list((desk.vendor / "manifests").iterdir())


def test_a_new_version_forgets_the_digest_of_the_last(desk: Desk) -> None:
    own_alone(desk)
    first = desk.pull()
    desk.charts.publish("moon", "2.0.0", {"objects.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: moon}\n"})
    moon = desk.pins.chart("moon").model_copy(update={"version": "2.0.0"})
    desk.pins = desk.pins.model_copy(update={"charts": {"moon": moon}})
    second = desk.pull()
    assert second.charts["moon"].version == "2.0.0"
    assert second.charts["moon"].digest not in (None, first.charts["moon"].digest)


def test_the_lock_is_written_from_what_is_there(desk: Desk) -> None:
    desk.pull("--no-digests")
    desk.file.unlink()
    desk.run("--lock-only", "--no-digests")
    assert "quay.io/moon/moon" in Lock.read(desk.file).repositories


def test_an_image_from_elsewhere_is_an_error_after_the_lock_is_written(desk: Desk) -> None:
    desk.graph = graph(chart(values={"registry": "mirror.example.org"}))
    with pytest.raises(VendorError, match=r"charts\.moon runs mirror\.example\.org/quay\.io/moon/moon:1\.0\.0"):
        desk.pull("--no-digests")
    assert Lock.read(desk.file).charts.keys() == {"moon"}


def test_a_check_lists_what_is_stale_missing_or_not_known(desk: Desk) -> None:
    own_alone(desk)
    desk.pull()
    with pytest.raises(VendorError, match="2 findings"):
        desk.run("--check")
    shutil.rmtree(desk.vendor / "charts" / "moon")
    (desk.vendor / "manifests" / "moon" / "kustomization.yaml").write_text("")
    (desk.vendor / "charts" / "sun").mkdir()
    before = desk.file.read_text()
    done = CliRunner().invoke(app, ["vendor", "--check"])
    assert done.exit_code == 1
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["what", "state"]
    assert ["chart moon", "not in vendor/charts: run `falaj vendor`"] in rows
    assert ["manifest moon", "vendor/manifests/moon was changed: run `falaj vendor`"] in rows
    assert [str(desk.vendor / "charts" / "sun"), "is in no pin: run `falaj vendor`"] in rows
    assert rows[1][0] == "image falaj/platform:0.1.0"
    assert "digest not known" in rows[1][1]
    assert desk.file.read_text() == before


def test_a_check_of_stale_versions(desk: Desk) -> None:
    desk.pull("--no-digests")
    moon = desk.pins.chart("moon").model_copy(update={"version": "2.0.0"})
    desk.pins = desk.pins.model_copy(update={"charts": {"moon": moon}, "manifests": {}})
    done = CliRunner().invoke(app, ["vendor", "--check"])
    assert "chart moon\tpins.yaml has 2.0.0, the lock 1.0.0: run `falaj vendor`" in done.stdout
    assert "manifest moon\tpins.yaml has none, the lock v1.0.0: run `falaj vendor`" in done.stdout


def test_the_commands_of_a_mirror_are_printed(desk: Desk) -> None:
    desk.pull("--no-digests")
    lines = desk.run("--mirror", "registry.example.ae/other/", "--dry-run").splitlines()
    assert "crane copy quay.io/moon/moon:1.0.0 registry.example.ae/other/quay.io/moon/moon:1.0.0" in lines
    assert len(lines) == 6


def test_images_are_mirrored_and_our_own_are_noted(desk: Desk, registries: list[str]) -> None:
    own_alone(desk)
    desk.pull()
    desk.run("--mirror", f"{registries[1]}/falaj")
    assert [image.digest for image in Lock.read(desk.file).images] == [None, None]


def test_the_bill_is_written(desk: Desk, tmp_path: Path) -> None:
    desk.pull("--no-digests")
    desk.run("--bom", str(tmp_path / "bom.json"))
    assert "pkg:oci/moon" in (tmp_path / "bom.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "--bom", "x"], "--check and --bom are different acts"),
        (["--check", "--lock-only"], "--check pulls nothing"),
        (["--dry-run"], "--dry-run is for --mirror"),
        (["--charts", "http://charts.example.org"], "--charts is http://charts.example.org: .* https"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], message: str, desk: Desk) -> None:
    with pytest.raises(Exception, match=message):
        desk.run(*arguments)

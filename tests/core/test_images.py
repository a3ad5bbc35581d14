from pathlib import Path

import pytest

from core.errors import ConfigError
from core.images import FILE, Lock, LockedChart, LockedImage, lock
from core.pins import pins

DIGEST = "sha256:" + "a" * 64
LOCK = Lock(
    charts={"karpenter": LockedChart(version="1.14.1", digest=DIGEST)},
    images=(
        LockedImage(name="docker.io/envoyproxy/gateway", tag="v1.9.1", used_by=("charts.gateway-helm",)),
        LockedImage(name="falaj/platform", tag="0.1.0", digest=DIGEST, used_by=("images.platform", "stacks.onprem")),
        LockedImage(name="falaj/platform", tag="0.0.9", used_by=("stacks.onprem",)),
    ),
)


def test_an_image_is_named_by_its_digest_where_one_is_known() -> None:
    own = pins().image("platform").model_copy(update={"version": "0.1.0"})
    assert LOCK.reference(own) == f"falaj/platform:0.1.0@{DIGEST}"
    assert LOCK.reference(own.model_copy(update={"version": "0.0.9"})) == "falaj/platform:0.0.9"
    assert LOCK.reference(own.model_copy(update={"version": "0.2.0"})) == "falaj/platform:0.2.0"


def test_a_repository_is_named_once() -> None:
    assert LOCK.repositories == ["docker.io/envoyproxy/gateway", "falaj/platform"]


def test_a_lock_reads_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "images.lock.yaml"
    file.write_text(LOCK.to_yaml())
    assert Lock.read(file) == LOCK


def test_the_repositorys_own_lock_follows_the_pins() -> None:
    """`falaj vendor --lock-only` writes it again after a pin has changed."""
    found, known = lock(), pins()
    assert {name: chart.version for name, chart in found.charts.items()} == {
        name: chart.version for name, chart in known.charts.items()
    }
    assert {name: manifest.version for name, manifest in found.manifests.items()} == {
        name: manifest.version for name, manifest in known.manifests.items()
    }
    tagged = {image.tagged for image in found.images}
    assert {f"{image.repository}:{image.version}" for image in known.images.values()} <= tagged
    assert FILE.read_text() == found.to_yaml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("charts: {moon: {version: 1.0}}", r"charts\.moon\.version"),
        ("images: [{name: moon, tag: '1', digest: 'sha256:0', used_by: []}]", r"images\.0\.digest"),
        ("moons: {}", "moons: Extra inputs"),
        ("[", "cannot be read"),
        (None, r"is missing: restore it from Git, or run `falaj vendor`"),
    ],
)
def test_a_fault_is_named(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "images.lock.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Lock.read(file)

import io
import tarfile
from pathlib import Path

import pytest

from core.images import LockedImage
from falaj.vendor import registry
from falaj.vendor.folders import VendorError, command


def push(reference: str, text: str, folder: Path) -> str:
    """Publish an image of one file; gives its digest."""
    archive = folder / "layer.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("moon")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    command(["crane", "append", "--new_layer", str(archive), "--new_tag", reference])
    return command(["crane", "digest", reference]).strip()


@pytest.fixture
def image(registries: list[str], upstream: str, tmp_path: Path) -> LockedImage:
    """An image that the first registry publishes, as it is locked before anyone asked."""
    push(f"{registries[0]}/moon/moon:1.0", "first", tmp_path)
    return LockedImage(name=f"{upstream}/moon/moon", tag="1.0", used_by=("charts.moon",))


def silent(_: str) -> None:
    pass


def test_upstream_is_asked_for_digests_once(image: LockedImage, registries: list[str], tmp_path: Path) -> None:
    (found,) = registry.resolve([image])
    assert found.digest == command(["crane", "digest", image.tagged]).strip()
    push(f"{registries[0]}/moon/moon:1.0", "second", tmp_path)
    assert registry.resolve([found]) == (found,)


def test_our_own_images_are_not_looked_for_upstream() -> None:
    own = LockedImage(name="falaj/platform", tag="0.1.0", used_by=("images.platform",))
    assert registry.resolve([own]) == (own,)


def test_every_image_that_failed_is_told(image: LockedImage) -> None:
    away = LockedImage(name="127.0.0.1:9/moon/moon", tag="1", used_by=())
    other = image.model_copy(update={"tag": "9"})
    with pytest.raises(
        VendorError, match=r"2 of 3 images failed; falaj vendor --no-digests(.|\n)*moon:1: (.|\n)*moon:9: "
    ):
        registry.resolve([image, away, other])


def test_images_are_copied_as_they_are_and_once(image: LockedImage, registries: list[str]) -> None:
    (locked,) = registry.resolve([image])
    target = f"{registries[1]}/falaj"
    said: list[str] = []
    assert registry.mirror([locked], target, said.append) == (locked,)
    assert said == [f"copied {image.tagged}"]
    assert command(["crane", "digest", f"{target}/{image.tagged}"]).strip() == locked.digest
    assert registry.mirror([locked], target, said.append) == (locked,)
    assert len(said) == 1


def test_an_image_that_is_known_by_its_digest_alone_is_copied(image: LockedImage, registries: list[str]) -> None:
    (locked,) = registry.resolve([image])
    bare = locked.model_copy(update={"tag": None})
    target = f"{registries[1]}/falaj"
    assert registry.mirror([bare], target, silent) == (bare,)
    assert command(["crane", "digest", f"{target}/{image.name}@{locked.digest}"]).strip() == locked.digest


def test_the_locked_image_is_copied_though_its_tag_moved_upstream(
    image: LockedImage, registries: list[str], tmp_path: Path
) -> None:
    (locked,) = registry.resolve([image])
    push(f"{registries[0]}/moon/moon:1.0", "second", tmp_path)
    target = f"{registries[1]}/falaj"
    registry.mirror([locked], target, silent)
    assert command(["crane", "digest", f"{target}/{image.tagged}"]).strip() == locked.digest


def test_another_image_under_the_tag_is_never_replaced(
    image: LockedImage, registries: list[str], tmp_path: Path
) -> None:
    (locked,) = registry.resolve([image])
    target = f"{registries[1]}/falaj"
    there = push(f"{target}/{image.tagged}", "other", tmp_path)
    with pytest.raises(VendorError, match=f"is {there}, and the lock has {locked.digest}: a tag never moves"):
        registry.mirror([locked], target, silent)
    assert command(["crane", "digest", f"{target}/{image.tagged}"]).strip() == there


def test_the_digest_of_our_own_is_read_where_it_was_pushed(registries: list[str], tmp_path: Path) -> None:
    own = LockedImage(name="falaj/platform", tag="0.1.0", used_by=("images.platform",))
    target = f"{registries[1]}/site"
    said: list[str] = []
    assert registry.mirror([own], target, said.append) == (own,)
    assert said == [f"{target}/falaj/platform:0.1.0 is not there yet: make image, then push it"]
    digest = push(f"{target}/falaj/platform:0.1.0", "own", tmp_path)
    assert registry.mirror([own], target, said.append) == (own.model_copy(update={"digest": digest}),)


def test_a_registry_that_cannot_be_reached_is_named(image: LockedImage) -> None:
    with pytest.raises(VendorError, match=r"sign in with `crane auth login 127\.0\.0\.1:9`"):
        registry.mirror([image], "127.0.0.1:9/falaj", silent)


def test_commands_can_be_run_by_hand(image: LockedImage, registries: list[str]) -> None:
    own = LockedImage(name="falaj/platform", tag="0.1.0", used_by=("images.platform",))
    (locked,) = registry.resolve([image])
    (line,) = registry.copies([locked, own], f"{registries[1]}/falaj")
    assert line == ["crane", "copy", locked.reference, f"{registries[1]}/falaj/{image.tagged}"]
    command(line)
    assert command(["crane", "digest", line[-1]]).strip() == locked.digest

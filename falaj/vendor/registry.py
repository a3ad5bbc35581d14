"""Images in registries, through `crane`: their digests upstream, and copies inside the country."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.images import LockedImage
from falaj.vendor.folders import VendorError, command

_AT_ONCE = 8
_NOT_THERE = ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "404 Not Found", "unexpected status code 404")


def is_own(image: LockedImage) -> bool:
    """Whether the image is made here, so that no registry outside has it."""
    return "." not in image.name.partition("/")[0]


def resolve(images: Sequence[LockedImage]) -> tuple[LockedImage, ...]:
    """Ask upstream for the digests that the lock lacks; those of our own are left to `mirror`.

    Raises:
        VendorError: A registry cannot be reached or has no such image.
    """

    def ask(image: LockedImage) -> LockedImage:
        if image.digest is not None or is_own(image):
            return image
        return image.model_copy(update={"digest": command(["crane", "digest", image.tagged]).strip()})

    return _each(images, ask, "falaj vendor --no-digests leaves digests open where no registry can be reached")


def copies(images: Sequence[LockedImage], registry: str) -> list[list[str]]:
    """The commands that copy every image of others into `registry`, whole: all architectures, digests as they are."""
    return [["crane", "copy", image.reference, place(image, registry)] for image in images if not is_own(image)]


def place(image: LockedImage, registry: str) -> str:
    """Where a registry of ours has an image: below its upstream name."""
    return f"{registry}/{image.tagged}" if image.tag else f"{registry}/{image.reference}"


def mirror(images: Sequence[LockedImage], registry: str, say: Callable[[str], None]) -> tuple[LockedImage, ...]:
    """Have every image of others in `registry`, and read the digests of our own from it.

    Args:
        say: Told of each image.

    Returns:
        What the lock is to say.

    Raises:
        VendorError: An image cannot be copied, or the registry has another under its tag.
    """

    def have(image: LockedImage) -> LockedImage:
        there = place(image, registry)
        found = _digest(there)
        if found is None and is_own(image):
            say(f"{there} is not there yet: make image, then push it")
            return image
        if found is None:
            command(["crane", "copy", image.reference, there])
            found = command(["crane", "digest", there]).strip()
            say(f"copied {image.tagged}")
        if image.digest not in (None, found):
            raise VendorError(
                f"{there} is {found}, and the lock has {image.digest}: a tag never moves; give the image a new version "
                "in pins.yaml, or remove what is there"
            )
        return image.model_copy(update={"digest": found})

    return _each(images, have, f"sign in with `crane auth login {registry.partition('/')[0]}`, and run again")


def _digest(reference: str) -> str | None:
    """None where there is no such image."""
    try:
        return command(["crane", "digest", reference]).strip()
    except VendorError as error:
        if any(sign in str(error) for sign in _NOT_THERE):
            return None
        raise


def _each(
    images: Sequence[LockedImage], act: Callable[[LockedImage], LockedImage], remedy: str
) -> tuple[LockedImage, ...]:
    """Act on several at once; all faults are told together."""
    faults: list[str] = []

    def careful(image: LockedImage) -> LockedImage:
        try:
            return act(image)
        except VendorError as error:
            faults.append(f"  {image.tagged}: {error}")
            return image

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = tuple(pool.map(careful, images))
    if faults:
        raise VendorError(f"{len(faults)} of {len(images)} images failed; {remedy}:\n" + "\n".join(sorted(faults)))
    return done

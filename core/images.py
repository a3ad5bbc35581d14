"""What the platform's charts, manifests and images are exactly: images.lock.yaml, typed.

`falaj vendor` writes it. Mirrors copy what it lists, admission accepts its digests, the cloud's registry has a
repository for each image, and the bill of materials says the same to others.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import pins
from core.digest import ROOT
from core.errors import ConfigError

FILE = ROOT / "images.lock.yaml"
_HEADER = """\
# Written by `falaj vendor`, never by hand: what every chart and manifest of pins.yaml is, and every image that the
# stacks use. A digest is null until a run could ask whoever publishes the thing; `falaj vendor --check` lists those.
"""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Locked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LockedChart(_Locked):
    """A chart as it was pulled."""

    version: str
    digest: Digest | None = None
    """`core.digest.tree_digest` of its unpacked folder."""


class LockedManifest(_Locked):
    """A folder of manifests as it was pulled."""

    version: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")] | None = None
    """That the tag stood for."""
    digest: Digest | None = None
    """`core.digest.tree_digest` of the folder."""


class LockedImage(_Locked):
    """An image that a stack uses."""

    name: str
    """With the upstream registry's host, but for images of our own."""
    tag: str | None
    """None where it is used by its digest alone."""
    digest: Digest | None = None
    """Of the manifest, or of the index of an image for several architectures."""
    used_by: tuple[str, ...]
    """`charts.<name>`, `manifests.<name>`, `images.<name>` of pins.yaml or `stacks.<name>`, sorted."""

    @property
    def reference(self) -> str:
        """`name:tag@digest` as far as it is known."""
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged

    @property
    def tagged(self) -> str:
        """`name:tag`, or the name alone."""
        return f"{self.name}:{self.tag}" if self.tag else self.name


class Lock(_Locked):
    """The whole file."""

    charts: Mapping[str, LockedChart] = {}
    manifests: Mapping[str, LockedManifest] = {}
    images: tuple[LockedImage, ...] = ()

    def reference(self, pin: pins.Image) -> str:
        """The image of `pin` without its registry: by digest where one is known, else by its tag."""
        for image in self.images:
            if (image.name, image.tag) == (pin.repository, pin.version):
                return image.reference
        return f"{pin.repository}:{pin.version}"

    @property
    def repositories(self) -> list[str]:
        """The name of each image once, sorted: what a registry needs a repository for."""
        return sorted({image.name for image in self.images})

    def to_yaml(self) -> str:
        """The file's text; equal locks give equal bytes."""
        return _HEADER + yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=120)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a lock.

        Raises:
            ConfigError: It is missing or not valid; the message names the key.
        """
        try:
            return cls.model_validate(yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader))
        except FileNotFoundError as error:
            raise ConfigError(f"{file.name} is missing: restore it from Git, or run `falaj vendor`") from error
        except ValidationError as error:
            faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            raise ConfigError(f"{file.name} is not valid: restore it from Git\n" + "\n".join(faults)) from error
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{file.name} cannot be read: restore it from Git ({error})") from error


@functools.cache
def lock(file: Path = FILE) -> Lock:
    """Read the lock of this repository once.

    Raises:
        ConfigError: It is missing or not valid.
    """
    return Lock.read(file)

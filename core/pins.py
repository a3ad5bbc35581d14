"""The versions that this platform is made of: pins.yaml, typed."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.digest import ROOT
from core.errors import ConfigError

FILE = ROOT / "pins.yaml"
_Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
EksAddon = Literal[
    "aws-ebs-csi-driver", "coredns", "eks-pod-identity-agent", "kube-proxy", "snapshot-controller", "vpc-cni"
]


Pin = TypeVar("Pin")


class _Pinned(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Chart(_Pinned):
    """A Helm chart."""

    name: str
    repository: Annotated[str, Field(pattern=r"^(https|oci)://[^\s]+[^/\s]$")]
    """Address of the repository; of an OCI one without the chart's name."""
    version: _Version

    @property
    def oci(self) -> str | None:
        """Address of the chart in an OCI registry; None in a classic repository."""
        return f"{self.repository}/{self.name}" if self.repository.startswith("oci://") else None


class Manifest(_Pinned):
    """A folder of manifests or kustomizations in a Git repository."""

    name: str
    repository: Annotated[str, Field(pattern=r"^https://[^\s]+[^/\s]$")]
    path: str
    """Folder in it."""
    version: _Version
    """Tag."""

    def address(self, folder: str = "") -> str:
        """What kustomize takes for a folder below `path`."""
        below = "/".join(part for part in (self.path, folder) if part)
        return f"{self.repository}//{below}?ref={self.version}"


class Image(_Pinned):
    """A container image that the program itself names; those of charts are found when the charts are vendored."""

    name: str
    repository: Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$")]
    """With the registry's host, but for images of our own."""
    version: _Version
    """Tag."""


class Versions(_Pinned):
    """Engines and languages, as their providers write them."""

    kubernetes: Annotated[str, Field(pattern=r"^1\.[0-9]{2}$")]
    node_image: Annotated[str, Field(pattern=r"^v[0-9]{8}$")]
    python: Annotated[str, Field(pattern=r"^3\.[0-9]{2}$")]
    postgresql: _Version
    mysql: _Version
    valkey: _Version
    redis: _Version
    kafka: _Version
    opensearch: _Version


class Pins(_Pinned):
    """The whole file. `chart`, `manifest` and `image` find one by its name."""

    versions: Versions
    eks_addons: Mapping[EksAddon, _Version]
    charts: Mapping[str, Chart]
    manifests: Mapping[str, Manifest]
    images: Mapping[str, Image]

    def chart(self, name: str) -> Chart:
        """The chart called `name`.

        Raises:
            ConfigError: There is no such pin.
        """
        return _found(self.charts, "charts", name)

    def manifest(self, name: str) -> Manifest:
        """The manifest called `name`.

        Raises:
            ConfigError: There is no such pin.
        """
        return _found(self.manifests, "manifests", name)

    def image(self, name: str) -> Image:
        """The image called `name`.

        Raises:
            ConfigError: There is no such pin.
        """
        return _found(self.images, "images", name)


@functools.cache
def pins(file: Path = FILE) -> Pins:
    """Read the file once.

    Raises:
        ConfigError: It is missing or not valid; the message names the key.
    """
    try:
        document = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
        for kind in ("charts", "manifests", "images"):
            document[kind] = {name: {"name": name, **pin} for name, pin in document[kind].items()}
        return Pins.model_validate(document)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError(f"{file.name} is not valid:\n" + "\n".join(faults)) from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file.name} cannot be read ({error!r}): it needs charts, manifests and images") from error


def _found(known: Mapping[str, Pin], kind: str, name: str) -> Pin:
    if name not in known:
        raise ConfigError(f"pins.yaml has no {kind}.{name}: add it, or name one of {', '.join(sorted(known))}")
    return known[name]

"""The bill of materials in CycloneDX: the charts, manifests and images of the lock, the Python packages of uv.lock."""

import json
import tomllib
import uuid
from pathlib import Path
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from core.digest import bytes_digest, canonical
from core.errors import ConfigError
from core.images import Lock, LockedImage
from core.pins import Pins

_OWN = "falaj"
_Package = tuple[str, str]
"""Name and version."""


def bill(lock: Lock, pins: Pins, uv_lock: Path) -> str:
    """The bill as JSON of CycloneDX 1.6; it has no time and no random number, so that equal locks give equal bills.

    Python packages are those of the images, without the tools of development, for every platform that uv.lock covers.

    Raises:
        ConfigError: uv.lock cannot be read.
    """
    packages = _packages(uv_lock)
    (root,) = (package for package in packages if package[0] == _OWN)
    own = Component(name=_OWN, version=root[1], type=ComponentType.PLATFORM, bom_ref=_OWN)
    libraries = {
        (name, version): Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"pypi/{name}@{version}",
            purl=PackageURL("pypi", None, name, version),
        )
        for name, version in packages
        if name != _OWN
    }
    charts = {
        f"charts.{name}": Component(
            name=name,
            version=chart.version,
            type=ComponentType.APPLICATION,
            bom_ref=f"charts.{name}",
            purl=PackageURL("helm", None, name, chart.version, {"repository_url": pins.chart(name).repository}),
            properties=_digest(chart.digest),
        )
        for name, chart in lock.charts.items()
    }
    manifests = {
        f"manifests.{name}": Component(
            name=name,
            version=manifest.version,
            type=ComponentType.APPLICATION,
            bom_ref=f"manifests.{name}",
            purl=PackageURL(
                "generic", None, name, manifest.version, {"vcs_url": f"git+{pins.manifest(name).repository}"}
            ),
            properties=_digest(manifest.digest),
        )
        for name, manifest in lock.manifests.items()
    }
    images = {image: _image(image) for image in lock.images}
    bom = Bom(components=[*libraries.values(), *charts.values(), *manifests.values(), *images.values()])
    bom.metadata.component = own
    parts = {**charts, **manifests}
    bom.register_dependency(own, [*parts.values(), *(libraries[need] for need in packages[root])])
    for package, library in libraries.items():
        bom.register_dependency(library, [libraries[need] for need in packages[package]])
    for user, part in parts.items():
        bom.register_dependency(part, [images[image] for image in images if user in image.used_by])
    bom.register_dependency(own, [images[image] for image in images if not parts.keys() & set(image.used_by)])
    return _text(bom)


def _image(image: LockedImage) -> Component:
    short = image.name.rpartition("/")[2]
    qualifiers = {"repository_url": image.name} | ({"tag": image.tag} if image.tag else {})
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=image.digest.removeprefix("sha256:"))] if image.digest else []
    return Component(
        name=image.name,
        version=image.tag or image.digest,
        type=ComponentType.CONTAINER,
        bom_ref=image.reference,
        purl=PackageURL("oci", None, short, image.digest, qualifiers),
        hashes=hashes,
    )


def _digest(digest: str | None) -> list[Property]:
    # It is one of the unpacked folder, which the standard has no hash for.
    return [Property(name="falaj:tree", value=digest)] if digest else []


def _packages(uv_lock: Path) -> dict[_Package, list[_Package]]:
    """The packages that a run needs, and what each of them needs."""
    try:
        known: dict[str, dict[str, Any]] = {}
        for package in tomllib.loads(uv_lock.read_text())["package"]:
            known.setdefault(package["name"], {})[package["version"]] = package
        needed: dict[_Package, list[_Package]] = {}
        waiting = [(_OWN, version) for version in known[_OWN]]
        while waiting:
            name, version = waiting.pop()
            if (name, version) not in needed:
                needed[name, version] = _needs(known[name][version], known)
                waiting += needed[name, version]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ConfigError(f"{uv_lock.name} cannot be read ({error!r}): restore it from Git") from error
    return needed


def _needs(package: dict[str, Any], known: dict[str, dict[str, Any]]) -> list[_Package]:
    """What a package depends on, with any of its extras: the lock has those alone that something asks for."""
    groups = [package.get("dependencies", []), *package.get("optional-dependencies", {}).values()]
    groups += [needs for name, needs in package.get("dev-dependencies", {}).items() if name != "dev"]
    # A need without a version has one; a package that the project overrides away is not in the lock.
    return sorted(
        {
            (need["name"], version)
            for group in groups
            for need in group
            for version in ([need["version"]] if "version" in need else known.get(need["name"], ()))
        }
    )


def _text(bom: Bom) -> str:
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    # The library takes the present time and a random number.
    del document["metadata"]["timestamp"], document["serialNumber"]
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, bytes_digest(canonical(document))).urn
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from core.digest import ROOT
from core.errors import ConfigError
from core.images import Lock, LockedImage, lock
from core.pins import pins
from falaj.vendor.bom import bill

DIGEST = "sha256:" + "a" * 64


def read(text: str) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Components and dependencies by their reference."""
    document = json.loads(text)
    parts = {part["bom-ref"]: part for part in document["components"]}
    return parts, {needs["ref"]: needs.get("dependsOn", []) for needs in document["dependencies"]}


def test_the_platforms_own_bill_is_valid_and_always_the_same() -> None:
    text = bill(lock(), pins(), ROOT / "uv.lock")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert bill(lock(), pins(), ROOT / "uv.lock") == text


def test_everything_that_is_locked_is_in_it() -> None:
    parts, _ = read(bill(lock(), pins(), ROOT / "uv.lock"))
    assert {f"charts.{name}" for name in pins().charts} <= parts.keys()
    assert {f"manifests.{name}" for name in pins().manifests} <= parts.keys()
    assert {image.reference for image in lock().images} <= parts.keys()
    versions: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        versions.setdefault(package["name"], set()).add(package["version"])
    # Where Pythons of their own take versions of their own, all of them; and no tool of development.
    assert len(versions["numpy"]) > 1
    for name in ("numpy", "torch", "jupyterhub", "onnxruntime-gpu"):
        found = {part["version"] for part in parts.values() if part.get("purl", "").startswith(f"pkg:pypi/{name}@")}
        assert found == versions[name]
    assert not [name for name in parts if name.startswith(("pypi/pytest@", "pypi/ruff@", "pypi/falaj@"))]


def test_who_needs_what_is_told() -> None:
    image = LockedImage(
        name="quay.io/jetstack/cert-manager-controller", tag="v1", digest=DIGEST, used_by=("charts.cert-manager",)
    )
    own = LockedImage(name="falaj/platform", tag="0.1.0", used_by=("images.platform", "stacks.onprem"))
    parts, needs = read(bill(lock().model_copy(update={"images": (image, own)}), pins(), ROOT / "uv.lock"))
    assert needs["charts.cert-manager"] == [image.reference]
    assert own.reference in needs["falaj"]
    assert "charts.cert-manager" in needs["falaj"]
    assert image.reference not in needs["falaj"]
    assert parts[image.reference]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert parts[image.reference]["purl"].startswith("pkg:oci/cert-manager-controller@sha256:aaa")
    torch = next(name for name in parts if name.startswith("pypi/torch@"))
    assert [need for need in needs[torch] if need.startswith("pypi/sympy@")]


@pytest.mark.parametrize("text", ["package = [", "version = 1", None])
def test_a_lock_of_packages_that_cannot_be_read_is_told(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "uv.lock"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"uv\.lock cannot be read"):
        bill(Lock(), pins(), file)

"""Charts and kustomizations, rendered by the real helm and kustomize from what is vendored."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from core.errors import FalajError
from core.pins import pins
from rehearsal.protocol import ProviderError

CHARTS, MANIFESTS = Path("vendor/charts"), Path("vendor/manifests")
_DEFINITION = re.compile(r"^kind: CustomResourceDefinition$", re.MULTILINE)
_GROUP = re.compile(r"^  group: (\S+)$", re.MULTILINE)


class _Loader(yaml.CSafeLoader):
    """Kubernetes' YAML knows no dates, and `=` is a text."""


def _text(_: _Loader, node: yaml.Node) -> str:
    return str(node.value)


for _tag in ("value", "timestamp"):
    yaml.add_constructor(f"tag:yaml.org,2002:{_tag}", _text, Loader=_Loader)


class NotVendoredError(FalajError):
    """What is to be rendered is not on this machine."""


def chart(name: str, inputs: dict[str, Any], root: Path, version: str, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a chart.

    Args:
        name: Of the release.
        inputs: Of `helm.v4.Chart`.
        root: Folder of the project.
        version: Of Kubernetes.
        kinds: What the API server knows, as charts ask for it.

    Raises:
        NotVendoredError: The chart at its version is not in vendor/charts.
        ProviderError: helm refuses.
    """
    source = Path(inputs["chart"])
    folder = source if source.is_absolute() else root / CHARTS / source.name
    if not folder.is_dir():
        raise NotVendoredError(f"{inputs['chart']} is not in {CHARTS}")
    known = yaml.safe_load((folder / "Chart.yaml").read_text())["version"]
    if inputs.get("version") not in (None, known):
        raise NotVendoredError(f"{folder.name} {inputs['version']} is not in {CHARTS}, which has {known}")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as values:
        json.dump(inputs.get("values", {}), values)
        values.flush()
        command = ["helm", "template", name, str(folder), "--namespace", inputs.get("namespace", "default")]
        command += ["--values", values.name, "--include-crds", "--kube-version", version, "--skip-tests"]
        command += [] if inputs.get("includeHooks") else ["--no-hooks"]
        command += [part for kind in kinds for part in ("--api-versions", kind)]
        return _objects(command)


def kustomization(folder: Path, root: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization, from what is vendored also where it names the publisher's address.

    Raises:
        NotVendoredError: It refers to what is not on this machine.
        ProviderError: kustomize refuses.
    """
    document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    places = [_place(entry, folder, root) for entry in document.get("resources", [])]
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        paths = [os.path.relpath(place, Path(beside).resolve()) for place in places]
        (Path(beside) / "kustomization.yaml").write_text(yaml.safe_dump({**document, "resources": paths}, width=1000))
        return _objects(["kustomize", "build", beside, "--load-restrictor", "LoadRestrictionsNone"])


def _place(entry: str, folder: Path, root: Path) -> Path:
    """Where a kustomization's resource lies on this machine."""
    place = (folder / entry).resolve()
    for pin in pins().manifests.values():
        address = f"{pin.repository}//{pin.path}"
        if entry.startswith(address) and entry.endswith(f"?ref={pin.version}"):
            place = root / MANIFESTS / pin.name / entry.removeprefix(address).partition("?")[0].lstrip("/")
    if not place.exists():
        raise NotVendoredError(f"{entry} is not on this machine")
    return place


def _objects(command: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProviderError(f"{' '.join(command[:4])} failed: {done.stderr.strip()}")
    found: list[dict[str, Any]] = []
    for document in yaml.load_all(done.stdout, Loader=_Loader):
        if document:
            found += document["items"] if document["kind"] == "List" else [document]
    return found


def defined_groups(root: Path) -> set[str]:
    """API groups that vendored charts define."""
    found: set[str] = set()
    for file in (root / CHARTS).rglob("*.yaml"):
        text = file.read_text(errors="replace")
        if _DEFINITION.search(text):
            found.update(_GROUP.findall(text))
    return found

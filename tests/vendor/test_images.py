import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.images import LockedImage
from core.pins import Chart, Image, Manifest, Pins, pins
from falaj.vendor import images, pull
from falaj.vendor.folders import VendorError
from falaj.vendor.images import Reference
from infra.plan import Graph, Resource
from tests.vendor.conftest import ChartRepository

PREFIX = "registry.example.ae/falaj"
OWN = f"{PREFIX}/falaj/platform:0.1.0"
OBJECTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: moon}
spec:
  template:
    spec:
      initContainers:
        - {name: first, image: "{{ .Values.registry }}/quay.io/moon/first:v1"}
      containers:
        - name: moon
          image: "{{ .Values.registry }}/quay.io/moon/moon:{{ .Chart.Version }}"
          args:
            - --worker={{ .Values.registry }}/ghcr.io/moon/worker@sha256:DIGEST
            - --base={{ .Values.registry }}/quay.io/moon/moon
            - --registry={{ .Values.registry }}/quay.io
            - --elsewhere=other.{{ .Values.registry }}/quay.io/moon/not:1
---
apiVersion: v1
kind: ConfigMap
metadata: {name: moon}
data:
  config: '{"image": "{{ .Values.registry }}/docker.io/moon/agent:1.0", "memory": "1Gi"}'
---
apiVersion: v1
kind: Secret
metadata: {name: moon}
data:
  settings.yaml: SETTINGS
---
apiVersion: moon.example.org/v1
kind: Moon
metadata: {name: moon}
spec: {image: "{{ .Values.registry }}/registry.k8s.io/moon/craft:v2.0"}
""".replace("DIGEST", "b" * 64).replace(
    "SETTINGS", base64.b64encode(f"crew: {{name: {PREFIX}/quay.io/moon/crew, tag: 4.4.1}}".encode()).decode()
)
HOOK = """\
apiVersion: v1
kind: Pod
metadata: {name: hook, annotations: {helm.sh/hook: post-install}}
spec: {containers: [{name: hook, image: "{{ .Values.registry }}/quay.io/moon/hook:v1"}]}
"""


def known(**changes: Any) -> Pins:
    own = Image(name="platform", repository="falaj/platform", version="0.1.0")
    gpu = Image(name="platform-gpu", repository="falaj/platform-gpu", version="0.1.0")
    nothing = {"charts": {}, "manifests": {}, "images": {"platform": own, "platform-gpu": gpu}}
    return pins().model_copy(update=nothing | changes)


def resource(kind: str, name: str, inputs: Mapping[str, Any], *, custom: bool = True) -> Resource:
    return Resource(
        urn=f"urn:pulumi:site::falaj::{kind}::{name}",
        type=kind,
        name=name,
        custom=custom,
        parent=None,
        provider=None,
        inputs=inputs,
        options={},
        dependencies=(),
        property_dependencies={},
    )


def graph(*more: Resource, image: str = OWN) -> Graph:
    pod = resource("kubernetes:core/v1:Pod", "own", {"spec": {"containers": [{"name": "own", "image": image}]}})
    return Graph(stack="site", resources=(pod, *more), outputs={})


def chart(**changes: Any) -> Resource:
    inputs = {"chart": "vendor/charts/moon", "namespace": "moon", "values": {"registry": PREFIX}} | changes
    return resource("kubernetes:helm.sh/v4:Chart", "moon", inputs, custom=False)


@pytest.fixture
def vendor(charts: ChartRepository, tmp_path: Path) -> Path:
    """A vendored chart `moon`."""
    charts.publish("moon", "1.0.0", {"objects.yaml": OBJECTS, "hook.yaml": HOOK})
    pin = Chart(name="moon", repository="https://charts.example.org", version="1.0.0")
    pull.chart(pin, None, tmp_path / "vendor", charts.address)
    return tmp_path / "vendor"


def test_images_are_found_wherever_they_are_named(vendor: Path) -> None:
    found = images.find([graph(chart())], vendor, known())
    assert {str(image.name) for image, users in found.users.items() if "charts.moon" in users} == {
        "quay.io/moon/first",
        "quay.io/moon/moon",
        "ghcr.io/moon/worker",
        "docker.io/moon/agent",
        "quay.io/moon/crew",
        "registry.k8s.io/moon/craft",
    }
    assert found.users[Reference("quay.io/moon/moon", "1.0.0")] == {"charts.moon"}
    assert found.users[Reference("ghcr.io/moon/worker", digest="sha256:" + "b" * 64)] == {"charts.moon"}
    assert found.users[Reference("falaj/platform", "0.1.0")] == {"images.platform", "stacks.site"}
    assert not found.outside
    assert not found.untagged


def test_hooks_count_where_they_are_installed(vendor: Path) -> None:
    found = images.find([graph(chart(includeHooks=True))], vendor, known())
    assert Reference("quay.io/moon/hook", "v1") in found.users


def test_a_container_with_an_image_from_elsewhere_is_told(vendor: Path) -> None:
    found = images.find([graph(chart(values={"registry": "mirror.example.org"}))], vendor, known())
    assert found.outside == {
        ("charts.moon", "mirror.example.org/quay.io/moon/first:v1"),
        ("charts.moon", "mirror.example.org/quay.io/moon/moon:1.0.0"),
    }


def test_an_image_without_any_version_is_told() -> None:
    job = resource("kubernetes:batch/v1:Job", "moon", {"spec": {"image": f"{PREFIX}/quay.io/moon/only"}})
    assert images.find([graph(job)], Path("vendor"), known()).untagged == {("stacks.site", "quay.io/moon/only")}


def test_two_stacks_with_registries_of_their_own_share_images(vendor: Path) -> None:
    cloud = "1234.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"
    second = graph(chart(values={"registry": cloud}), image=f"{cloud}/falaj/platform@sha256:{'c' * 64}")
    found = images.find([graph(chart()), second], vendor, known())
    assert not found.outside
    assert len([image for image in found.users if image.name == "quay.io/moon/moon"]) == 1


def test_a_stack_without_our_images_has_no_registry() -> None:
    with pytest.raises(VendorError, match="stack site runs no image of ours"):
        images.find([graph(image="mirror/other:1")], Path("vendor"), known())


def test_a_chart_that_is_not_there_or_refuses_its_values_is_named(vendor: Path, tmp_path: Path) -> None:
    with pytest.raises(VendorError, match=r"chart moon is not in vendor/charts: run `falaj vendor`"):
        images.find([graph(chart())], tmp_path / "none" / "vendor", known())
    (vendor / "charts" / "moon" / "templates" / "objects.yaml").write_text('{{ fail "no crew" }}')
    with pytest.raises(VendorError, match=r"helm template moon(?s:.*)no crew"):
        images.find([graph(chart(namespace="other"))], vendor, known())


def write_kustomization(folder: Path, entry: str) -> Resource:
    folder.mkdir()
    image = {"name": "example/moon", "newName": f"{PREFIX}/docker.io/example/moon"}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [entry], "images": [image]}))
    return resource("kubernetes:kustomize/v2:Directory", "moon", {"directory": str(folder)}, custom=False)


@pytest.mark.parametrize("vendored", [True, False])
def test_a_kustomization_is_built_from_what_is_vendored(vendored: bool, published: Manifest, tmp_path: Path) -> None:
    pull.manifest(published, None, tmp_path / "vendor")
    # Where the stack takes it from its publisher, the name is an address that is not asked.
    pin = published.model_copy(update={"repository": "https://git.example.org/moon"})
    entry = "../vendor/manifests/moon/base" if vendored else pin.address("base")
    directory = write_kustomization(tmp_path / "made", entry)
    found = images.find([graph(directory)], tmp_path / "vendor", known(manifests={"moon": pin}))
    assert found.users[Reference("docker.io/example/moon", "1.0")] == {"manifests.moon"}
    assert not found.outside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "upstream", "vendor"]


def test_the_lock_keeps_the_digests_that_it_has() -> None:
    users = {
        Reference("docker.io/moon/a", "1"): frozenset({"charts.moon"}),
        Reference("docker.io/moon/a", "2"): frozenset({"charts.b", "charts.a"}),
    }
    before = [LockedImage(name="docker.io/moon/a", tag="1", digest="sha256:" + "d" * 64, used_by=("charts.old",))]
    found = images.Found(users=users, outside=frozenset(), untagged=frozenset())
    first, second = images.locked(found, before)
    assert (first.digest, first.used_by) == ("sha256:" + "d" * 64, ("charts.moon",))
    assert (second.digest, second.used_by) == (None, ("charts.a", "charts.b"))

"""The provider `kubernetes` against a real API server; where this machine has none, its rules alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from rehearsal.kubernetes.api import Api
from rehearsal.kubernetes.provider import INVENTED, KubernetesProvider, _observed
from rehearsal.leftovers import Cluster
from rehearsal.notes import FOLDER, read
from rehearsal.protocol import NotFoundError, ProviderError
from rehearsal.servers import Servers, running
from tools.build import BIN

_PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "etcd")
_MAP = "kubernetes:core/v1:ConfigMap"
_NAMESPACE = "kubernetes:core/v1:Namespace"
_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
needs_servers = pytest.mark.skipif(
    any(shutil.which(name, path=_PATH) is None for name in _SERVERS),
    reason="no kube-apiserver on this machine: `python -m tools.build rehearsal`",
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("servers"), "111122223333", _PATH) as found:
        yield found


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture
def provider(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesProvider]:
    monkeypatch.setenv(FOLDER, str(servers.kubeconfig.parent))
    made = KubernetesProvider()
    yield made
    made.close()


def _object(version: str, kind: str, name: str, namespace: str | None = None, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def test_what_the_api_server_spells_otherwise_is_no_drift() -> None:
    inputs = {"spec": {"cpu": "1000m", "items": [{"a": 1}], "given": "text"}}
    recorded = {"spec": {"cpu": "1", "items": [{"a": 1, "b": 2}], "default": True}}
    assert _observed(inputs, recorded, recorded) == inputs
    live = {"spec": {"cpu": "2", "items": [{"a": 1, "b": 2}], "default": False}}
    assert _observed(inputs, recorded, live) == {"spec": {"cpu": "2", "items": [{"a": 1}], "given": "text"}}


def test_what_takes_a_new_object(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = KubernetesProvider.__new__(KubernetesProvider)
    before = {"metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}, "replicas": 1}}
    scaled = {"metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}, "replicas": 2}}
    selected = {"metadata": {"name": "a"}, "spec": {"selector": {"a": "c"}, "replicas": 1}}
    assert not provider.difference(_DEPLOYMENT, before, {}, before).changed
    assert not provider.difference(_DEPLOYMENT, before, {}, scaled).replaced
    assert provider.difference(_DEPLOYMENT, before, {}, selected).replaced == {"spec"}
    renamed = before | {"metadata": {"name": "b"}}
    assert provider.difference(_DEPLOYMENT, before, {}, renamed).replaced == {"metadata"}


@needs_servers
def test_from_made_to_nothing_left(provider: KubernetesProvider, servers: Servers, stack: ExitStack) -> None:
    cluster = stack.enter_context(closing(Cluster(servers.kubeconfig)))
    namespace = _object("v1", "Namespace", "one")
    made = provider.create(_NAMESPACE, "one", namespace)
    inputs = _object("v1", "ConfigMap", "settings", "one", data={"a": "1"})
    settings = provider.create(_MAP, "settings", inputs)
    assert settings.id == "one/settings"
    with pytest.raises(ProviderError, match="exists already"):
        provider.create(_MAP, "again", inputs)
    with pytest.raises(ProviderError, match="field not declared in schema"):
        provider.create(_MAP, "odd", _object("v1", "ConfigMap", "odd", "one", dat={"a": "1"}))
    with pytest.raises(NotFoundError, match='namespaces "two" not found'):
        provider.create(_MAP, "lost", _object("v1", "ConfigMap", "lost", "two"))

    api = stack.enter_context(closing(Api(servers.kubeconfig)))
    api.apply(inputs | {"data": {"a": "2"}}, force=True)
    found = provider.read(_MAP, settings.id, inputs, settings.outputs)
    assert found.inputs["data"] == {"a": "2"}
    provider.update(_MAP, settings.id, found.inputs, found.outputs, inputs)
    assert api.get(inputs)["data"] == {"a": "1"}

    assert "ConfigMap one settings" in [item.removeprefix("v1 ") for item in _left(cluster)]
    provider.delete(_NAMESPACE, made.id, namespace, made.outputs)
    with pytest.raises(NotFoundError):
        provider.read(_MAP, settings.id, inputs, settings.outputs)
    assert cluster.found() == []


def _left(cluster: Cluster) -> list[str]:
    return [" ".join(part for part in item if part) for item in cluster._names() - cluster._before]


@needs_servers
def test_a_kind_that_nothing_defines(provider: KubernetesProvider, servers: Servers) -> None:
    inputs = _object("made-up.example.ae/v1", "Policy", "first", spec={"any": {"thing": [1]}})
    made = provider.create("kubernetes:made-up.example.ae/v1:Policy", "first", inputs)
    assert made.outputs["spec"] == inputs["spec"]
    assert "Policy of made-up.example.ae/v1" in read(servers.kubeconfig.parent)[INVENTED]

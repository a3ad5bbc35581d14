"""Each check finds the failure that it is for, in a graph that is otherwise sound."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from falaj.commands.plan import graph
from infra.checks import faults
from infra.config import StackConfig, parse_config
from infra.plan import Graph, Resource, record
from infra.program import compose
from tests.infra.variations import document, valid

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def sound() -> Graph:
    return graph("onprem")


@pytest.fixture(scope="module")
def config() -> StackConfig:
    return parse_config(document("onprem"), "onprem")


def broken(found: Graph, kind: str, name: str, change: Change | None = None, **fields: Any) -> Graph:
    """The graph with one resource changed: its inputs by `change`, its other fields by name."""

    def edit(resource: Resource) -> Resource:
        inputs = json.loads(json.dumps(resource.inputs))
        if change is not None:
            change(inputs)
        return replace(resource, inputs=inputs, **fields)

    hits = [r for r in found.resources if r.type.endswith(f":{kind}") and r.name == name]
    assert len(hits) == 1, [r.name for r in found.resources if r.type.endswith(f":{kind}")]
    return replace(found, resources=tuple(edit(r) if r is hits[0] else copy.copy(r) for r in found.resources))


def without(found: Graph, kind: str, name: str) -> Graph:
    kept = tuple(r for r in found.resources if not (r.type.endswith(f":{kind}") and r.name == name))
    assert len(kept) == len(found.resources) - 1
    return replace(found, resources=kept)


def container(inputs: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = inputs["spec"]["template"]["spec"]["containers"][0]
    return first


def test_a_sound_graph_has_no_fault(sound: Graph, config: StackConfig) -> None:
    assert faults(sound, config) == []


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("ServiceAccount", "mlflow", "Deployment falaj/mlflow runs as the service account mlflow, which is not in"),
        ("ExternalSecret", "falaj/falaj-redis", "of the secret falaj-redis, which nothing brings to falaj"),
        ("ConfigMap", "feature-server", "mounts the ConfigMap feature-server, which is not in falaj"),
        ("PriorityClass", "falaj-service", "has the priority falaj-service, which does not exist"),
        ("Service", "mlflow", "HTTPRoute falaj/mlflow leads to falaj/mlflow, a service that is not there"),
        ("Deployment", "mlflow", "PodDisruptionBudget falaj/mlflow selects no pod"),
        ("Chart", "envoy-gateway", "is of the group gateway.envoyproxy.io, which no chart of the stack defines"),
        ("Namespace", "kserve", "Chart kserve-crd lives in the namespace kserve, which is not there"),
    ],
)
def test_what_is_missing_is_told(sound: Graph, config: StackConfig, kind: str, name: str, told: str) -> None:
    assert any(told in fault for fault in faults(without(sound, kind, name), config))


def test_who_is_told_an_address_is_let_out_to_it_and_in_there(sound: Graph, config: StackConfig) -> None:
    def told(inputs: dict[str, Any]) -> None:
        container(inputs)["args"] = ["--tracking", "http://mlflow.falaj.svc.cluster.local:5000"]

    assert faults(broken(sound, "Deployment", "inference", told), config) == [
        "Deployment falaj/inference calls mlflow.falaj:5000, and no policy lets it out",
        "Deployment falaj/inference calls mlflow.falaj:5000, and no policy there lets it in",
    ]


def _huge(inputs: dict[str, Any]) -> None:
    container(inputs)["resources"]["requests"]["memory"] = "900Gi"


def _many(inputs: dict[str, Any]) -> None:
    inputs["spec"]["template"]["spec"]["nodeSelector"] = {"example.ae/pool": "pipelines"}
    inputs["spec"]["template"]["spec"]["tolerations"] = [{"key": "example.ae/pool", "operator": "Exists"}]
    inputs["spec"]["replicas"] = 1000


def _intolerant(inputs: dict[str, Any]) -> None:
    inputs["spec"]["template"]["spec"]["nodeSelector"] = {"example.ae/pool": "pipelines"}


def _other_version(inputs: dict[str, Any]) -> None:
    container(inputs)["image"] += "-old"


def _other_port(inputs: dict[str, Any]) -> None:
    inputs["spec"]["rules"][0]["backendRefs"][0]["port"] = 1


def _open_egress(inputs: dict[str, Any]) -> None:
    del inputs["spec"]["egress"][0]["to"]


def _unrouted(inputs: dict[str, Any]) -> None:
    rules = inputs["values"]["additionalPrometheusRulesMap"]
    next(rule for rule in rules["services"]["groups"][0]["rules"] if "alert" in rule)["labels"]["severity"] = "odd"


def _deaf(inputs: dict[str, Any]) -> None:
    inputs["values"]["alertmanager"]["config"]["receivers"] = []


def _wrong_endpoint(inputs: dict[str, Any]) -> None:
    inputs["spec"]["endpoints"][0]["port"] = "metrics"


@pytest.mark.parametrize(
    ("kind", "name", "change", "told"),
    [
        ("Deployment", "mlflow", _huge, "Deployment falaj/mlflow asks for 0.5 CPUs, 900.0 GiB, and no node"),
        ("Deployment", "mlflow", _many, "all pods of the pool pipelines ask for"),
        ("Deployment", "mlflow", _intolerant, "finds no pool that its selector and tolerations fit"),
        ("Deployment", "mlflow", _other_version, "the platform's image is there in 2 versions"),
        ("HTTPRoute", "mlflow", _other_port, "leads to port 1, and the service has [5000]"),
        ("NetworkPolicy", "falaj/inference-out", _open_egress, "egress rule without `to`"),
        ("Chart", "monitoring", _unrouted, "has the severity odd, which no route takes"),
        ("Chart", "monitoring", _deaf, "alerts go to the receiver route-0, which is not there"),
        ("ServiceMonitor", "mlflow", _wrong_endpoint, "scrapes the port metrics, which no service has"),
    ],
)
def test_what_is_wrong_is_told(
    sound: Graph, config: StackConfig, kind: str, name: str, change: Change, told: str
) -> None:
    found = faults(broken(sound, kind, name, change), config)
    assert any(told in fault for fault in found), found


def test_what_comes_too_early_is_told(sound: Graph, config: StackConfig) -> None:
    early = broken(sound, "ServiceMonitor", "mlflow", dependencies=(), parent=None)
    found = faults(early, config)
    assert any("ServiceMonitor mlflow could come before its namespace falaj" in fault for fault in found)
    assert any("could come before the chart kube-prometheus-stack" in fault for fault in found)


# An example takes seconds: the first that fails is shown as it is. What a signal raises would be lost in the SDK's
# event loop, which then waits for ever.
@pytest.mark.timeout(600, method="thread")
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
@given(found=valid(("dev", "onprem", "prod", "smb", "staging")))
def test_any_valid_stack_has_no_fault(found: StackConfig, tmp_path_factory: pytest.TempPathFactory) -> None:
    rendered = tmp_path_factory.mktemp("rendered")
    declare = partial(compose, found, Path("/falaj"), rendered, Path("monitoring"))
    assert faults(record("any", {}, declare, twice=False), found) == []

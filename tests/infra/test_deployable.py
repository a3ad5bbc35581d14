"""What a graph must hold before it is deployed, each against a failure that real deployments met."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from core.errors import ConfigError
from falaj.commands.plan import graph
from infra.config import StackConfig, parse_config
from infra.plan import Graph, Resource, record
from infra.program import compose
from tests.infra.variations import document, valid


def objects(found: Graph, kind: str) -> list[Resource]:
    return [resource for resource in found.resources if resource.type.endswith(f":{kind}")]


def pods(found: Graph) -> list[dict[str, Any]]:
    return [resource.inputs["spec"]["template"]["spec"] for resource in objects(found, "Deployment")]


def secrets(spec: dict[str, Any]) -> set[tuple[str, str]]:
    """Name and key of each secret value that a pod reads."""
    read = {
        (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
        for entry in spec["containers"][0]["env"]
        if "valueFrom" in entry
    }
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            read |= {(source["secret"]["name"], item["key"]) for item in source["secret"]["items"]}
    return read


def check(found: Graph, config: StackConfig) -> None:
    """Every check of a cluster's graph."""
    external = {resource.inputs["metadata"]["name"]: resource for resource in objects(found, "ExternalSecret")}
    services = {resource.inputs["metadata"]["name"]: resource for resource in objects(found, "Service")}
    shapes = [shape for pool in config.pools().values() for shape in pool.shapes()]
    for spec in pods(found):
        container = spec["containers"][0]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert spec["securityContext"]["runAsNonRoot"]
        requests = container["resources"]["requests"]
        cpu, memory = int(requests["cpu"].removesuffix("m")) / 1000, int(requests["memory"].removesuffix("Mi"))
        assert any(shape.cpu >= cpu and shape.memory_mib >= memory for shape in shapes)
        if external:
            for name, key in secrets(spec):
                assert key in {entry["secretKey"] for entry in external[name].inputs["spec"]["data"]}
    for route in objects(found, "HTTPRoute"):
        for rule in route.inputs["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                ports = [port["port"] for port in services[backend["name"]].inputs["spec"]["ports"]]
                assert backend["port"] in ports
    for policy in objects(found, "NetworkPolicy"):
        for rule in policy.inputs["spec"].get("egress", []):
            assert rule["to"], "an egress rule without `to` is open to the world"
    denied = {policy.inputs["metadata"]["namespace"] for policy in objects(found, "NetworkPolicy")}
    assert {namespace.inputs["metadata"]["name"] for namespace in objects(found, "Namespace")} <= denied
    for limits in objects(found, "LimitRange"):
        assert "nvidia.com/gpu" not in str(limits.inputs)


def test_the_stack_on_premises_passes() -> None:
    check(graph("onprem"), parse_config(document("onprem"), "onprem"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(config=valid(("onprem",)))
def test_any_valid_site_passes(config: StackConfig) -> None:
    check(record("onprem", {}, lambda: compose(config, Path("/falaj"), {})), config)


def test_a_cluster_of_aws_is_told_as_not_deployable() -> None:
    with pytest.raises(ConfigError, match=r"substrate\.kind is aws"):
        graph("prod")

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.addons import gpu, scaling
from infra.config.nodes import NodePool
from infra.config.platform import Gpu
from tests.infra.variations import document


def charts(tried: Any) -> set[str]:
    return {resource.name for resource in tried.graph.resources if resource.type.endswith("helm.sh/v4:Chart")}


def test_a_gpu_is_whole_unless_the_stack_shares_it() -> None:
    assert "config" not in gpu.plugin_values("m", Gpu())
    shared = json.loads(gpu.plugin_values("m", Gpu(replicas_per_gpu=4))["config"]["map"]["default"])
    timed = shared["sharing"]["timeSlicing"]
    assert timed["resources"] == [{"name": "nvidia.com/gpu", "replicas": 4}]
    assert timed["failRequestsGreaterThanOne"] is True


def test_both_parts_tolerate_what_gpu_nodes_carry() -> None:
    pool = NodePool.model_validate(document("prod")["substrate"]["nodes"]["inference-gpu"])
    carried = {taint.key for taint in pool.taints("inference-gpu")}
    for values in (gpu.plugin_values("m", Gpu()), gpu.exporter_values("m", True)):
        assert {toleration["key"] for toleration in values["tolerations"]} == carried


def test_the_exporter_waits_for_the_definition_of_its_monitor(install: Callable[..., Any]) -> None:
    def program(cluster: Any, opts: Any) -> None:
        gpu.GpuSupport("gpu", cluster, Gpu(), cluster.secret("monitoring", "monitors", {}), opts)

    tried = install(program)
    assert charts(tried) == {"nvidia-device-plugin", "dcgm-exporter"}
    assert "secret-monitoring-monitors" in tried.before("dcgm-exporter")
    assert tried.cluster.namespaces["gpu"].security == "privileged"


@pytest.mark.parametrize("part", ["gpu-operator", "metrics-server", "keda"])
def test_what_the_site_runs_is_not_installed(part: str, install: Callable[..., Any]) -> None:
    def program(cluster: Any, opts: Any) -> None:
        gpu.GpuSupport("gpu", cluster, Gpu(), cluster.namespace(gpu.NAMESPACE), opts)
        scaling.MetricsServer("metrics", cluster, opts=opts)
        scaling.Keda("scaling", cluster, opts=opts)

    by_part = {
        "gpu-operator": {"nvidia-device-plugin", "dcgm-exporter"},
        "metrics-server": {"metrics-server"},
        "keda": {"keda"},
    }
    assert charts(install(program, frozenset({part}))) == set().union(*by_part.values()) - by_part[part]


def test_images_come_from_inside_the_country() -> None:
    assert gpu.plugin_values("m/nvcr.io", Gpu())["image"]["repository"] == "m/nvcr.io/nvidia/k8s-device-plugin"
    assert gpu.exporter_values("m/nvcr.io", True)["image"]["repository"] == "m/nvcr.io/nvidia/k8s/dcgm-exporter"
    assert scaling.metrics_values("m", 2)["image"]["repository"] == "m/metrics-server/metrics-server"
    images = scaling.keda_values("m/ghcr.io", 1)["image"]
    assert {image["registry"] for image in images.values() if isinstance(image, dict)} == {"m/ghcr.io"}


def test_the_api_server_reaches_what_it_calls() -> None:
    assert set(scaling.KEDA.webhooks) == {6443, 9443}
    assert scaling.METRICS.webhooks == (10250,)

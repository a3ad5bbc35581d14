"""NVIDIA's device plugin, by which pods see GPUs, and the exporter of what the GPUs do."""

import json

import pulumi

from infra.addons.chart import Values, install, requests
from infra.addons.pods import pull
from infra.config.nodes import GPU_TAINT, LABEL
from infra.config.platform import Gpu
from infra.substrates.cluster import Cluster, NamespaceSpec

NAMESPACE = NamespaceSpec(name="gpu", security="privileged", callers=("monitoring",))
"""Both mount folders of the node, to reach its driver."""
# A GPU pool's nodes carry a taint with the pool's name beside that of the GPU.
_TOLERATIONS = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in (GPU_TAINT, LABEL)]


def plugin_values(registry: str, settings: Gpu) -> Values:
    """Values of the device plugin's chart; its own affinity finds the nodes, by the label nvidia.com/gpu.present.

    Args:
        registry: Stands for nvcr.io.
    """
    values: Values = {
        "image": {"repository": f"{registry}/nvidia/k8s-device-plugin"},
        "tolerations": _TOLERATIONS,
        "resources": requests("10m", "128Mi"),
    }
    if settings.replicas_per_gpu > 1:
        shared = {"name": "nvidia.com/gpu", "replicas": settings.replicas_per_gpu}
        # A pod that asked for two parts would get one GPU's time twice, not two GPUs: refuse it instead.
        sharing = {"timeSlicing": {"failRequestsGreaterThanOne": True, "resources": [shared]}}
        values["config"] = {"map": {"default": json.dumps({"version": "v1", "sharing": sharing})}}
    return values


def exporter_values(registry: str, monitored: bool) -> Values:
    """Values of the exporter's chart.

    Args:
        registry: Stands for nvcr.io.
    """
    return {
        "image": {"repository": f"{registry}/nvidia/k8s/dcgm-exporter"},
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "tolerations": _TOLERATIONS,
        "resources": requests("100m", "512Mi"),
        "serviceMonitor": {"enabled": monitored},
    }


class GpuSupport(pulumi.ComponentResource):
    """The plugin and the exporter; nothing where the site runs NVIDIA's operator, which brings both."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        settings: Gpu,
        monitors: pulumi.Resource | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`monitors` is what defines ServiceMonitor; None where nothing reads metrics."""
        super().__init__("falaj:addons:GpuSupport", name, None, opts)
        if not cluster.installed("gpu-operator"):
            registry = cluster.registry("nvcr.io")
            pulled = {"imagePullSecrets": pull(cluster.pull_secrets(NAMESPACE))}
            plugin = plugin_values(registry, settings) | pulled
            install("nvidia-device-plugin", cluster, NAMESPACE, plugin, parent=self)
            exporter = exporter_values(registry, monitors is not None) | pulled
            needs = [monitors] if monitors is not None else []
            install("dcgm-exporter", cluster, NAMESPACE, exporter, parent=self, depends_on=needs)
        self.register_outputs({})

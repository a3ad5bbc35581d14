"""Node objects as they would join, by what a machine has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.pins import pins
from rehearsal.kubernetes.amounts import Amounts, less
from rehearsal.kubernetes.api import Manifest

GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
DRAIN = "karpenter.sh/termination"
"""The finalizer that keeps a node until its pods are gone."""
_MIB = 1024**2
_CPU_STEPS = ((1, "0.06"), (1, "0.01"), (2, "0.005"))
_CPU_REST = Decimal("0.0025")
_EVICTION_MIB = 100
_EKS = {"cpu": Decimal("0.18"), "memory": Decimal(120 * _MIB), "pods": Decimal(4)}
"""Requests of the daemons of EKS's own add-ons, which no chart brings: kube-proxy 100m, vpc-cni 25m for each of two
containers, aws-ebs-csi-driver 10m and 40Mi for each of three, eks-pod-identity-agent none."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a node is or would be.

    Attributes:
        source: Whose it is, such as `pool inference`.
        owner: The object that it goes with, as an owner reference; None for nodes that are given.
    """

    source: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    capacity: Amounts
    allocatable: Amounts
    owner: Mapping[str, Any] | None = None

    @property
    def zone(self) -> str:
        """Its zone, empty where there is none."""
        return self.labels.get(ZONE, "")

    def node(self, name: str) -> Manifest:
        """The object of a ready node."""
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "as the rehearsal says"}
        pressures = ("MemoryPressure", "DiskPressure", "PIDPressure")
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {**self.labels, HOSTNAME: name},
                # kwok's own way to say that nothing runs on a node: whoever looks at the cluster expects no answers.
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "finalizers": [DRAIN] if self.owner else [],
                "ownerReferences": [{**self.owner, "blockOwnerDeletion": True}] if self.owner else [],
            },
            "spec": {"taints": list(self.taints)},
            "status": {
                "capacity": _quantities(self.capacity),
                "allocatable": _quantities(self.allocatable),
                "conditions": [ready, *({"type": pressure, "status": "False"} for pressure in pressures)],
                "addresses": [{"type": "Hostname", "address": name}],
                "nodeInfo": {
                    "architecture": self.labels["kubernetes.io/arch"],
                    "operatingSystem": "linux",
                    "kubeletVersion": f"v{pins().versions.kubernetes}.0",
                    "machineID": "",
                    "systemUUID": "",
                    "bootID": "",
                    "kernelVersion": "",
                    "osImage": "",
                    "containerRuntimeVersion": "",
                    "kubeProxyVersion": "",
                },
            },
        }


def on_eks(cpus: int, memory_mib: int, gpus: int, pods: int) -> tuple[Amounts, Amounts]:
    """Capacity and allocatable of an instance of EKS with its own image and daemons.

    The machine shows its system 92.5 % of its memory, as Karpenter reckons; kubelet keeps CPU by steps and memory by
    pods, as the image sets it up: https://awslabs.github.io/amazon-eks-ami/nodeadm/doc/api/

    Args:
        pods: Most that may run there.
    """
    memory = memory_mib - math.ceil(memory_mib * 0.075)
    capacity = {"cpu": Decimal(cpus), "memory": Decimal(memory * _MIB), "pods": Decimal(pods)}
    kept, left = Decimal(0), cpus
    for width, share in _CPU_STEPS:
        kept += min(left, width) * Decimal(share)
        left -= min(left, width)
    kept += left * _CPU_REST
    reserved = {"cpu": kept, "memory": Decimal((255 + 11 * pods + _EVICTION_MIB) * _MIB)}
    allocatable = less(less(capacity, reserved), _EKS)
    if gpus:
        capacity[GPU] = allocatable[GPU] = Decimal(gpus)
    return capacity, allocatable


def _quantities(found: Amounts) -> dict[str, str]:
    return {name: f"{int(value * 1000)}m" if name == "cpu" else str(int(value)) for name, value in found.items()}

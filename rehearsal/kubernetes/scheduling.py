"""What gives pods a node and makes them ready: kube-scheduler, kwok and the machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

STAGES = Path(__file__).with_name("stages.yaml")
_PODS = "100.64.0.0/16"
_LEASE_SECONDS = 40


def scheduler(executable: str, kubeconfig: Path) -> list[str]:
    """The command of kube-scheduler, its configuration beside the kubeconfig."""
    file = kubeconfig.with_name("scheduler.yaml")
    document = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 200, "burst": 400},
        "leaderElection": {"leaderElect": False},
        # Nodes come within a second here, and a pod need not wait longer to be looked at again.
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 2,
    }
    file.write_text(yaml.safe_dump(document))
    # A pod that takes the place of one whose volume is just being bound is held back for ever in 1.35 where the
    # scheduler does that beside its other work: seen here where nodes are full until the next one comes.
    gates = "--feature-gates=SchedulerAsyncPreemption=false"
    return [executable, f"--config={file}", "--bind-address=127.0.0.1", "--secure-port=0", gates]


def agent(executable: str, kubeconfig: Path) -> list[str]:
    """The command of kwok, which stands for the kubelet of every node."""
    return [
        executable,
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        "--manage-all-nodes=true",
        f"--node-lease-duration-seconds={_LEASE_SECONDS}",
        f"--cidr={_PODS}",
    ]


def machines(python: str, kubeconfig: Path, aws: str, site: Mapping[str, Any]) -> list[str]:
    """The command of what adds nodes, and of a site that has its own already, as `site.json` beside the kubeconfig."""
    file = kubeconfig.with_name("site.json")
    file.write_text(json.dumps(site))
    return [python, "-m", "rehearsal.kubernetes.machines", str(kubeconfig), aws, str(file)]


def site_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a site has, as the section `falaj:stack` of a stack's file says; nothing on AWS."""
    substrate = config.get("substrate", {})
    if substrate.get("kind") != "kubernetes":
        return {}
    return {
        "nodes": substrate["nodes"],
        "zones": substrate.get("zones", []),
        "storage_class": substrate["stores"]["storage_class"],
    }

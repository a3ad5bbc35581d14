"""Nodes, the scheduler and readiness: real kube-scheduler, kwok and controllers; where there are none, arithmetic."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from typing import Any

import boto3
import pytest
import yaml

from infra.config.nodes import allocatable
from infra.config.offerings import offering, offerings
from rehearsal.kubernetes import readiness
from rehearsal.kubernetes.amounts import amounts, asked, lacking
from rehearsal.kubernetes.api import Api
from rehearsal.kubernetes.cloud import POOL, REGION, Account, Pool, of_site
from rehearsal.kubernetes.nodes import GPU, Machine, on_eks
from rehearsal.kubernetes.provider import KubernetesProvider, _permissive
from rehearsal.kubernetes.provisioning import Provisioner, Room
from rehearsal.kubernetes.readiness import settle
from rehearsal.kubernetes.scheduling import site_of
from rehearsal.notes import FOLDER
from rehearsal.protocol import NotFoundError, NotReadyError
from rehearsal.servers import Servers, running
from tools.build import BIN, ROOT

_PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
_SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "etcd")
needs_servers = pytest.mark.skipif(
    any(shutil.which(name, path=_PATH) is None for name in _SERVERS),
    reason="no kube-scheduler on this machine: `python -m tools.build rehearsal`",
)
_SPACE = "models"
_TAG = {"karpenter.sh/discovery": "small"}
_PATIENCE = 120.0
"""Far more than a busy machine takes."""


def _client(service: str, servers: Servers) -> Any:
    make: Any = boto3.client
    return make(service, region_name=REGION, endpoint_url=servers.aws, aws_access_key_id="x", aws_secret_access_key="x")


def _account(servers: Servers) -> None:
    """A network of two zones, and a cluster with a managed group of two nodes."""
    ec2, eks = _client("ec2", servers), _client("eks", servers)
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    tags = [{"ResourceType": "subnet", "Tags": [{"Key": key, "Value": value} for key, value in _TAG.items()]}]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{number}.0/24", AvailabilityZoneId=zone, TagSpecifications=tags)[
            "Subnet"
        ]["SubnetId"]
        for number, zone in enumerate(("mec1-az1", "mec1-az3"))
    ]
    role = "arn:aws:iam::111122223333:role/nodes"
    eks.create_cluster(name="small", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
    eks.create_nodegroup(
        clusterName="small",
        nodegroupName="system",
        nodeRole=role,
        subnets=subnets,
        instanceTypes=["m7i.large"],
        scalingConfig={"minSize": 2, "desiredSize": 2, "maxSize": 3},
        labels={"falaj.ae/pool": "system"},
    )


def _pool(name: str, types: list[str], limits: dict[str, str], *, dedicated: bool = False) -> list[dict[str, Any]]:
    """A node class and a NodePool as infra/addons/karpenter.py writes them."""
    wanted = {"node.kubernetes.io/instance-type": types, "karpenter.sh/capacity-type": ["on-demand"]}
    taints = [{"key": "falaj.ae/pool", "value": name, "effect": "NoSchedule"}] if dedicated else []
    like = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name}
    template = {
        "metadata": {"labels": {"falaj.ae/pool": name}},
        "spec": {
            "nodeClassRef": like,
            "requirements": [{"key": key, "operator": "In", "values": values} for key, values in wanted.items()],
            "taints": taints,
        },
    }
    terms = {"subnetSelectorTerms": [{"tags": _TAG}], "kubelet": {"maxPods": 110}}
    return [
        {"apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": {"name": name}, "spec": terms},
        {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": name},
            "spec": {"template": template, "limits": limits},
        },
    ]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("small"), "111122223333", _PATH) as found:
        _account(found)
        yield found


@pytest.fixture(scope="module")
def api(servers: Servers) -> Iterator[Api]:
    """The cluster with its pools and a namespace with a quota."""
    with closing(Api(servers.kubeconfig)) as found:
        for version, kind in (("karpenter.k8s.aws/v1", "EC2NodeClass"), ("karpenter.sh/v1", "NodePool")):
            found.apply(_permissive(version, kind, namespaced=False))
            _until(lambda version=version, kind=kind: _known(found, version, kind))
        pools = [
            *_pool("services", ["m7i.large", "m7i.xlarge"], {"cpu": "8", "memory": "32Gi"}),
            *_pool("inference", ["m7i.2xlarge"], {"cpu": "16", "memory": "64Gi"}, dedicated=True),
            *_pool("gpu", ["g6.xlarge"], {"cpu": "8", "memory": "64Gi", GPU: "2"}),
        ]
        for item in pools:
            found.apply(item)
        for name in (_SPACE, "serving"):
            found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            _until(lambda name=name: bool(found.items("v1", "ServiceAccount", name)))
        found.apply(
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "quota", "namespace": "serving"},
                "spec": {"hard": {f"requests.{GPU}": "1"}},
            }
        )
        _until(lambda: "hard" in found.items("v1", "ResourceQuota", "serving")[0].get("status", {}))
        yield found


def _known(api: Api, version: str, kind: str) -> bool:
    try:
        api.resource(version, kind)
        api.items(version, kind)
    except Exception:  # not served yet, in one way or another
        return False
    return True


def _until(holds: Any) -> None:
    last = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < last
        time.sleep(0.2)


def _pods(name: str, cpu: str, **spec: Any) -> dict[str, Any]:
    resources = spec.pop("resources", None) or {"requests": {"cpu": cpu, "memory": "256Mi"}}
    container = {"name": "main", "image": "example.ae/main", "resources": resources}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}}


def _deployment(name: str, replicas: int, template: dict[str, Any], namespace: str = _SPACE) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def _setting(name: str) -> str:
    return re.escape(f"(stacks/Pulumi.small.yaml: falaj:stack.{name})")


def _on(pool: str) -> dict[str, Any]:
    return {"nodeSelector": {"falaj.ae/pool": pool}}


@needs_servers
def test_what_fits_becomes_ready(api: Api, servers: Servers) -> None:
    made = settle(api, api.apply(_deployment("web", 3, _pods("web", "1", **_on("services")))), "small", _PATIENCE)
    assert made["status"]["readyReplicas"] == 3
    nodes = api.items("v1", "Node", labelSelector=f"{POOL}=services")
    # Three pods of one CPU each are more than an m7i.large has: the smallest type that holds all three is one size up.
    assert [node["metadata"]["labels"]["node.kubernetes.io/instance-type"] for node in nodes] == ["m7i.xlarge"]
    once = _pods("once", "100m", restartPolicy="Never", **_on("system"))["spec"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": _SPACE},
        "spec": {"template": {"spec": once}},
    }
    done = settle(api, api.apply(job), "small", _PATIENCE)
    assert done["status"]["succeeded"] == 1
    daemons = _deployment("each", 1, _pods("each", "50m")) | {"kind": "DaemonSet"}
    del daemons["spec"]["replicas"]
    there = settle(api, api.apply(daemons), "small", _PATIENCE)
    assert there["status"]["numberReady"] == len(nodes) + 2
    # As the managed group says, one node in each of its zones.
    zones = {node["metadata"]["labels"]["topology.k8s.aws/zone-id"] for node in _system(api)}
    assert zones == {"mec1-az1", "mec1-az3"}


def _system(api: Api) -> list[dict[str, Any]]:
    return api.items("v1", "Node", labelSelector="eks.amazonaws.com/nodegroup=system")


@needs_servers
def test_a_volume_is_where_its_pod_is(api: Api) -> None:
    api.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "disk"},
            "provisioner": "ebs.csi.aws.com",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    claim = {
        "storageClassName": "disk",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    kept = _deployment("kept", 1, _pods("kept", "100m", **_on("system"))) | {"kind": "StatefulSet"}
    kept["spec"] |= {"serviceName": "kept", "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}
    settle(api, api.apply(kept), "small", _PATIENCE)
    volume = api.items("v1", "PersistentVolume")[0]
    node = api.items("v1", "Pod", _SPACE, labelSelector="app=kept")[0]["spec"]["nodeName"]
    rule = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in _system(api)}[node]
    assert rule["values"] == [labels["topology.kubernetes.io/zone"]]


@needs_servers
def test_what_finds_no_node_fails_with_the_reason(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SETTLED_SECONDS", 2.0)
    gpus = {"limits": {GPU: "1"}}
    daemon = _deployment("daemon", 1, _pods("daemon", "1900m", **_on("system"))) | {"kind": "DaemonSet"}
    del daemon["spec"]["replicas"]
    cases = {
        "daemon": (daemon, "Insufficient cpu", r"on its own node alone, which is full: .* set priorityClassName"),
        "large": (
            _deployment("large", 1, _pods("large", "6", **_on("services"))),
            "Insufficient cpu",
            r"pool services: it asks for 6 cpu, .*" + _setting("substrate.nodes.services.instance_types"),
        ),
        "intolerant": (
            _deployment("intolerant", 1, _pods("intolerant", "1", **_on("inference"))),
            "nodes are available",
            r"must tolerate falaj.ae/pool=inference:NoSchedule " + _setting("substrate.nodes.inference.dedicated"),
        ),
        "astray": (
            _deployment("astray", 1, _pods("astray", "1", **_on("elsewhere"))),
            "didn't match Pod's node affinity/selector",
            r"no pool has the labels that it selects, .*elsewhere.*: the pools are services, inference, gpu",
        ),
        "many": (
            _deployment("many", 3, _pods("many", "6", **_on("inference"), **_tolerating("inference"))),
            "Insufficient cpu",
            r"pool inference: its nodes have 16 cpu.*over its limits.*" + _setting("substrate.nodes.inference.limits"),
        ),
        "quota": (
            _deployment("quota", 2, _pods("quota", "1", resources=gpus), "serving"),
            "exceeded quota: quota, requested: requests.nvidia.com/gpu=1",
            _setting("serving.quota"),
        ),
    }

    def failed(case: dict[str, Any]) -> str:
        with pytest.raises(NotReadyError) as error:
            settle(api, api.apply(case), "small", _PATIENCE)
        assert error.value.outputs["metadata"]["name"] == case["metadata"]["name"]
        return str(error.value)

    with ThreadPoolExecutor(len(cases)) as executor:
        answers = dict(zip(cases, executor.map(failed, [case for case, *_ in cases.values()]), strict=True))
    for name, (_, scheduler, remedy) in cases.items():
        assert scheduler in answers[name]
        assert re.search(remedy, answers[name]), answers[name]
    # What was within the limits runs all the same.
    assert len(api.items("v1", "Node", labelSelector=f"{POOL}=inference")) == 2
    assert [node["status"]["allocatable"][GPU] for node in api.items("v1", "Node", labelSelector=f"{POOL}=gpu")] == [
        "1"
    ]


def _tolerating(pool: str) -> dict[str, Any]:
    return {"tolerations": [{"key": "falaj.ae/pool", "operator": "Equal", "value": pool, "effect": "NoSchedule"}]}


@needs_servers
def test_annotations_and_timeouts(api: Api, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(servers.kubeconfig.parent))
    provider = KubernetesProvider()
    try:
        skipped = _deployment("skipped", 1, _pods("skipped", "100"))
        skipped["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
        kind = "kubernetes:apps/v1:Deployment"
        made = provider.create(kind, "skipped", skipped)
        assert provider.settle(kind, made.outputs, 0) == made.outputs
        short = _deployment("short", 1, _pods("short", "100"))
        short["metadata"]["annotations"] = {"pulumi.com/timeoutSeconds": "1"}
        made = provider.create(kind, "short", short)
        with pytest.raises(NotReadyError, match=r"Deployment models/short does not become ready: .* after 1 s"):
            provider.settle(kind, made.outputs, 0)
    finally:
        provider.close()


@needs_servers
def test_nodes_go_with_their_pool_and_their_group(api: Api, servers: Servers) -> None:
    for kind in ("Deployment", "DaemonSet", "StatefulSet"):
        for item in api.items("apps/v1", kind, _SPACE) + api.items("apps/v1", kind, "serving"):
            api.delete(item)
    for pool in api.items("karpenter.sh/v1", "NodePool"):
        api.delete(pool)
    assert api.items("v1", "Node", labelSelector=POOL) == []
    _client("eks", servers).delete_nodegroup(clusterName="small", nodegroupName="system")
    _until(lambda: not api.items("v1", "Node"))
    # A volume goes with its claim.
    for claim in api.items("v1", "PersistentVolumeClaim", _SPACE):
        api.delete(claim)
    _until(lambda: not api.items("v1", "PersistentVolume"))
    with pytest.raises(NotFoundError):
        api.get(pool)


@needs_servers
def test_the_plan_knows_the_same_machines(servers: Servers) -> None:
    """What the stacks' checks reckon with is what EC2 says, and no more than a node then has."""
    named: set[str] = set()
    for file in (ROOT / "stacks").glob("Pulumi.*.yaml"):
        substrate = yaml.safe_load(file.read_text())["config"]["falaj:stack"]["substrate"]
        groups = [*substrate.get("nodes", {}).values(), substrate.get("system", {})]
        named.update(name for group in groups for name in group.get("instance_types", []))
    account = Account(servers.aws)
    for name in sorted(named):
        known, told = offering(name), account._type(name)
        assert (told.cpus, told.memory_mib, told.gpus, told.pods) == (
            known.cpu,
            known.memory_mib,
            known.gpus,
            known.pods,
        ), name
        assert account._offered(name) == set(known.zones)


def test_the_plan_never_reckons_with_more_than_a_node_has() -> None:
    for name, known in offerings().instance_types.items():
        _, has = on_eks(known.cpu, known.memory_mib, known.gpus, known.pods)
        shape = allocatable(known)
        assert shape.cpu <= has["cpu"], name
        assert shape.memory_mib <= has["memory"] / 1024**2, name
        assert shape.gpus == has.get(GPU, 0), name


def test_what_a_pod_asks_for() -> None:
    def container(cpu: str, **rest: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **rest}

    plain = {"containers": [container("100m"), container("1")]}
    assert asked(plain) == {"cpu": Decimal("1.1"), "pods": 1}
    # What starts before counts where it is more than all the rest; what stays beside counts with both.
    before = plain | {"initContainers": [container("500m", restartPolicy="Always"), container("2")]}
    assert asked(before)["cpu"] == Decimal("2.5")
    assert asked(plain | {"overhead": {"cpu": "250m"}})["cpu"] == Decimal("1.35")
    assert lacking(amounts({"cpu": "2", "memory": "1Gi"}), amounts({"cpu": "2", "memory": "1000Mi"})) == ["memory"]


def _machine(name: str, cpu: int, zone: str = "a") -> Machine:
    has = amounts({"cpu": str(cpu), "memory": f"{4 * cpu}Gi", "pods": "110"})
    labels = {"type": name, "topology.kubernetes.io/zone": zone, POOL: "one"}
    return Machine(source="pool one", labels=labels, taints=[], capacity=has, allocatable=has)


def _pending(uid: str, cpu: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": _pods(uid, cpu)["spec"]}


def _never(_uid: str, _node: str) -> bool:
    return False


def test_pods_share_the_smallest_machine_that_holds_them() -> None:
    machines = [_machine("small", 2), _machine("large", 8)]
    pool = Pool(name="one", weight=0, machines=machines, limits=amounts({"cpu": "16"}))
    pending = [_pending(str(number), "1500m") for number in range(6)]
    plan = Provisioner([pool], [], {}, []).plan(pending, _never)
    assert [machine.labels["type"] for machine in plan.launches] == ["large", "small"]
    assert not plan.refused
    # Daemons take their share of each.
    daemon = _pods("daemon", "1")["spec"]
    plan = Provisioner([pool], [], {}, [daemon]).plan(pending[:1], _never)
    assert [machine.labels["type"] for machine in plan.launches] == ["large"]


def test_a_pool_grows_to_its_limits_over_its_zones() -> None:
    machines = [_machine("small", 2, "a"), _machine("small", 2, "b")]
    pool = Pool(name="one", weight=0, machines=machines, limits=amounts({"cpu": "6"}))
    pending = [_pending(str(number), "1500m") for number in range(4)]
    plan = Provisioner([pool], [], {"one": amounts({"cpu": "2"})}, []).plan(pending, _never)
    assert sorted(machine.zone for machine in plan.launches) == ["a", "b"]
    assert set(plan.refused.values()) == {
        "pool one: its nodes have 2 cpu, and with one more for 1.5 cpu, 0.2 GiB of memory they are over its limits, "
        "6 cpu (falaj:stack.substrate.nodes.one.limits)"
    }


def test_a_node_that_is_there_is_awaited_until_the_scheduler_refuses_it() -> None:
    pool = Pool(name="one", weight=0, machines=[_machine("small", 2)], limits={})
    room = Room("there", {POOL: "one"}, [], amounts({"cpu": "2", "memory": "4Gi", "pods": "10"}))
    pending = [_pending("a", "1500m")]
    plan = Provisioner([pool], [room], {}, []).plan(pending, _never)
    assert plan.awaited == {"a": "there"}
    assert not plan.launches
    room.free = amounts({"cpu": "2", "memory": "4Gi", "pods": "10"})
    plan = Provisioner([pool], [room], {}, []).plan(pending, lambda _uid, node: node == "there")
    assert [machine.labels["type"] for machine in plan.launches] == ["small"]


def test_a_site_has_the_nodes_that_its_file_describes() -> None:
    stack = yaml.safe_load((ROOT / "stacks" / "Pulumi.onprem.yaml").read_text())["config"]["falaj:stack"]
    site = site_of(stack)
    nodes = dict(of_site(site["nodes"], site["zones"]))
    assert sum(name.startswith("general-") for name in nodes) == stack["substrate"]["nodes"]["general"]["count"]
    assert nodes["gpu-1"].capacity[GPU] == stack["substrate"]["nodes"]["gpu"]["gpus"]
    assert nodes["gpu-2"].zone == stack["substrate"]["zones"][1]
    assert site_of(yaml.safe_load((ROOT / "stacks" / "Pulumi.smb.yaml").read_text())["config"]["falaj:stack"]) == {}
    assert site["storage_class"] == stack["substrate"]["stores"]["storage_class"]

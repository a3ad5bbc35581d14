"""The checks of a cluster on a real API server: what a stack declares is found there, and what is altered too."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from falaj.commands.plan import graph
from rehearsal.kubernetes.api import Api
from rehearsal.servers import CONTEXT, Servers, running
from tools.build import BIN
from verify.cluster import Cluster
from verify.declared import Declared, known
from verify.run import verify

PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kwok")
STACK = "onprem"
KINDS = ("Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "ServiceAccount", "PriorityClass", "Role")
KINDS += ("RoleBinding", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Deployment", "Service")
KINDS += ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
PARTS = ("namespaces", "traffic", "workloads", "pods", "rights", "admission", "operation")
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        any(shutil.which(name, path=PATH) is None for name in PROGRAMS),
        reason="no kube-apiserver on this machine: `python -m tools.build rehearsal`",
    ),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("servers"), "111122223333", PATH) as found:
        yield found


@pytest.fixture(scope="module")
def api(servers: Servers) -> Iterator[Api]:
    with closing(Api(servers.kubeconfig)) as found:
        yield found


@pytest.fixture(scope="module")
def declared(api: Api) -> Declared:
    """What Kubernetes itself defines of a stack, put into the cluster as it is declared."""
    whole = Declared.of_document(STACK, graph(STACK).document())
    kept = {
        (kind, name): inputs
        for (kind, name), inputs in whole.inputs.items()
        if kind.startswith("kubernetes:") and kind.rpartition(":")[2] in KINDS
    }
    for kind in KINDS:
        for (of, _), inputs in kept.items():
            if of.rpartition(":")[2] == kind:
                api.apply(_known(inputs))
    return Declared(STACK, kept)


def _known(value: Any) -> Any:
    """A manifest with something in place of what only a provider would know."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_known(item) for item in value]
    return value if known(value) else "unknown"


def _failed(servers: Servers, declared: Declared, *parts: str) -> dict[str, str]:
    report = verify(declared, cluster=Cluster(servers.kubeconfig, CONTEXT), parts=parts)
    assert "error" not in report.counts, [check for check in report.checks if check.result == "error"]
    return {check.id: check.reason for check in report.checks if check.result == "failed"}


def test_what_is_declared_is_found(servers: Servers, declared: Declared) -> None:
    assert _failed(servers, declared, *PARTS) == {}


def _policy(api: Api) -> None:
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    api.delete(kind | {"metadata": {"name": "default", "namespace": "falaj"}})


def _level(api: Api) -> None:
    level = {"pod-security.kubernetes.io/enforce": "privileged"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "falaj", "labels": level}}, force=True)


def _quota(api: Api) -> None:
    name = {"name": "quota", "namespace": "pipelines"}
    hard = {"requests.cpu": "1000"}
    api.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": name, "spec": {"hard": hard}}, force=True)


def _administrator(api: Api) -> None:
    api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "by-hand"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "inference", "namespace": "falaj"}],
        }
    )


def _scale(api: Api) -> None:
    api.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "feature-server", "namespace": "falaj"},
            "spec": {
                "maxReplicas": 99,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "feature-server"},
            },
        },
        force=True,
    )


def _service(api: Api) -> None:
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "by-hand", "namespace": "pipelines"},
            "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"app": "x"}},
        }
    )


BROKEN: list[tuple[Callable[[Api], None], set[str]]] = [
    (_policy, {"traffic.policies", "traffic.denied_by_default", "traffic.let_out_by_policy_alone"}),
    (
        _level,
        {
            # What is applied anew takes its former labels off.
            "namespaces.there",
            "namespaces.pod_security",
            "namespaces.pod_security_is_audited",
            "admission.root_is_refused",
            "admission.privilege_is_refused",
            "admission.the_nodes_folders_are_refused",
        },
    ),
    (_quota, {"namespaces.quotas", "namespaces.tenants_have_a_quota"}),
    (_administrator, {"rights.no_account_rules_the_cluster"}),
    (_scale, {"workloads.autoscalers"}),
    (_service, {"traffic.one_entrance"}),
]


def test_what_is_altered_is_found(servers: Servers, api: Api, declared: Declared) -> None:
    """One after the other, so that each is seen to add exactly what it breaks."""
    before: set[str] = set()
    for broken, expected in BROKEN:
        broken(api)
        found = set(_failed(servers, declared, *PARTS))
        assert found - before == expected, broken
        before = found


def test_a_namespace_without_a_standard_takes_anything(servers: Servers, api: Api, declared: Declared) -> None:
    """What the API server would take is what the checks try, and nothing is made."""
    name = {"name": "open", "labels": {"app.kubernetes.io/managed-by": "falaj"}}
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": name})
    cluster = Cluster(servers.kubeconfig, CONTEXT)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": "open"},
        "spec": {"containers": [{"name": "trial", "image": "x:1", "securityContext": {"privileged": True}}]},
    }
    assert cluster.would_take(pod) is None
    api.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": name | {"labels": name["labels"] | label}}, force=True
    )
    assert "violates PodSecurity" in str(cluster.would_take(pod))
    assert cluster.found("v1", "Pod").get(("open", "trial")) is None


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --kubeconfig"):
        Cluster(tmp_path / "none", None)

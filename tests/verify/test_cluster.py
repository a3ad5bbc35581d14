"""The checks of a cluster: each holds on objects as they must be, and fails where one is not."""

import copy
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from verify.cluster import Cluster, Manifest
from verify.declared import Declared
from verify.run import PARTS, verify

RBAC = "rbac.authorization.k8s.io"
GATEWAY, ENVOY = "gateway.networking.k8s.io", "gateway.envoyproxy.io"
NOW = dt.datetime.now(dt.UTC)
SECURITY = "pod-security.kubernetes.io"
LEVELS = {f"{SECURITY}/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
IMAGE = "registry.example.ae/falaj/platform:0.1.0"
OWN = {"app.kubernetes.io/part-of": "falaj", "app.kubernetes.io/name": "inference"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
POD: Manifest = {
    "automountServiceAccountToken": False,
    "serviceAccountName": "inference",
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "inference",
            "image": IMAGE,
            "command": ["python"],
            "securityContext": HARDENED,
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        }
    ],
}
SELECTED: Manifest = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


class Objects:
    """What is in the cluster, and what of it was declared."""

    def __init__(self) -> None:
        self.live: list[Manifest] = []
        self.declared: dict[tuple[str, str], Manifest] = {}

    def add(
        self,
        version: str,
        kind: str,
        name: str,
        *,
        namespace: str | None = "falaj",
        status: Manifest | None = None,
        declared: bool = True,
        **fields: Any,
    ) -> None:
        metadata: Manifest = {"name": name, "generation": 1, "creationTimestamp": NOW.isoformat()}
        metadata |= {"namespace": namespace} if namespace else {}
        metadata |= {"labels": fields.pop("labels")} if "labels" in fields else {}
        manifest = {"apiVersion": version, "kind": kind, "metadata": metadata} | fields
        if declared:
            prefix = f"core/{version}" if "/" not in version else version
            self.declared[f"kubernetes:{prefix}:{kind}", f"{namespace}/{name}"] = copy.deepcopy(manifest)
        self.live.append(copy.deepcopy(manifest) | ({"status": status} if status else {}))

    def one(self, kind: str, name: str) -> Manifest:
        return next(item for item in self.live if (item["kind"], item["metadata"]["name"]) == (kind, name))

    def remove(self, kind: str, name: str) -> None:
        self.live.remove(self.one(kind, name))


class Known(Cluster):
    """A cluster whose answers are known."""

    def __init__(self, objects: Objects) -> None:
        self.server = "https://cluster.example.ae"
        self.version = "v1.35.4"
        self._objects = objects

    def every(self, version: str, kind: str) -> list[Manifest]:
        return [item for item in self._objects.live if (item["apiVersion"], item["kind"]) == (version, kind)]

    def would_take(self, manifest: Manifest) -> str | None:
        level = self.namespaces[manifest["metadata"]["namespace"]]["metadata"]["labels"][f"{SECURITY}/enforce"]
        return None if level == "privileged" else f"violates {level}"


def _objects() -> Objects:
    made = Objects()
    add = made.add
    ours = {"app.kubernetes.io/managed-by": "falaj", "falaj.ae/tenant": "true"} | LEVELS
    add("v1", "Namespace", "falaj", namespace=None, labels=ours, status={"phase": "Active"})
    add("networking.k8s.io/v1", "NetworkPolicy", "default", spec=SELECTED)
    hard = {"requests.cpu": "4", "requests.memory": "8Gi", "requests.nvidia.com/gpu": "0", "pods": "10"}
    used = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    add("v1", "ResourceQuota", "quota", spec={"hard": hard}, status=used)
    add("v1", "LimitRange", "defaults", spec={"limits": [{"type": "Container", "default": {"cpu": "1"}}]})
    template = {"metadata": {"labels": OWN}, "spec": POD}
    deployed = {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}
    selector = {"matchLabels": OWN}
    spec = {"replicas": 2, "selector": selector, "template": template}
    add("apps/v1", "Deployment", "inference", labels=OWN, spec=spec, status=deployed)
    add("apps/v1", "StatefulSet", "loki", declared=False, spec=spec, status={"readyReplicas": 2})
    ready = {"numberReady": 2, "desiredNumberScheduled": 2}
    add("apps/v1", "DaemonSet", "agent", declared=False, spec={"template": template}, status=ready)
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    add("batch/v1", "Job", "databases", spec={"template": template}, status=done)
    for number in (1, 2):
        pod = POD | {"nodeName": f"node-{number}"}
        add("v1", "Pod", f"inference-{number}", declared=False, labels=OWN, spec=pod, status={"phase": "Running"})
        add(
            "v1",
            "Node",
            f"node-{number}",
            namespace=None,
            declared=False,
            labels={"falaj.ae/pool": "own"},
            status=READY,
        )
    add(
        "karpenter.sh/v1",
        "NodePool",
        "own",
        namespace=None,
        spec={"limits": {"cpu": "8"}, "template": {"spec": {"taints": []}}},
        status=READY,
    )
    add(
        "policy/v1",
        "PodDisruptionBudget",
        "inference",
        spec={"maxUnavailable": 1, "selector": selector},
        status={"expectedPods": 2, "disruptionsAllowed": 1},
    )
    add(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "inference",
        spec={"minReplicas": 2, "maxReplicas": 4},
        status={"conditions": [{"type": "ScalingActive", "status": "True"}]},
    )
    add("v1", "ServiceAccount", "inference", automountServiceAccountToken=False)
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    add(f"{RBAC}/v1", "Role", "reader", rules=[rule])
    subject = {"kind": "ServiceAccount", "name": "inference", "namespace": "falaj"}
    add(f"{RBAC}/v1", "RoleBinding", "reader", roleRef={"name": "reader", "kind": "Role"}, subjects=[subject])
    add(
        f"{RBAC}/v1",
        "ClusterRoleBinding",
        "cluster-admin",
        namespace=None,
        declared=False,
        roleRef={"name": "cluster-admin"},
        subjects=[{"kind": "Group", "name": "system:masters"}],
    )
    store = {"kind": "ClusterSecretStore", "name": "falaj"}
    data = [{"secretKey": "key", "remoteRef": {"key": "falaj/cache", "property": "key"}}]
    add("external-secrets.io/v1", "ExternalSecret", "cache", spec={"data": data, "secretStoreRef": store}, status=READY)
    add("external-secrets.io/v1", "ClusterSecretStore", "falaj", namespace=None, spec={"provider": {}}, status=READY)
    add("cert-manager.io/v1", "ClusterIssuer", "gateway", namespace=None, spec={}, status=READY)
    end = {"notAfter": (NOW + dt.timedelta(days=60)).isoformat()}
    add("cert-manager.io/v1", "Certificate", "falaj", spec={"dnsNames": ["ml.example.ae"]}, status=READY | end)
    add("v1", "Secret", "falaj-certificate", declared=False, type="kubernetes.io/tls")
    _entrance(made)
    _operation(made)
    return made


def _entrance(made: Objects) -> None:
    add = made.add
    accepted = {"conditions": [{"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "True"}]}
    add(f"{GATEWAY}/v1", "GatewayClass", "falaj", namespace=None, spec={}, status=accepted)
    add(
        f"{GATEWAY}/v1",
        "Gateway",
        "falaj",
        spec={"listeners": [{"name": "https", "protocol": "HTTPS", "hostname": "ml.example.ae"}]},
        status={"conditions": [{"type": "Programmed", "status": "True"}], "addresses": [{"value": "10.0.0.1"}]},
    )
    route = {"rules": [{"backendRefs": [{"name": "inference", "port": 8085}]}]}
    add(f"{GATEWAY}/v1", "HTTPRoute", "inference", spec=route, status={"parents": [accepted]})
    add(f"{GATEWAY}/v1beta1", "ReferenceGrant", "monitoring", spec={"from": []})
    add(
        f"{ENVOY}/v1alpha1",
        "SecurityPolicy",
        "falaj",
        spec={
            "jwt": {"providers": [{"issuer": "https://login.example.ae"}]},
            "authorization": {"defaultAction": "Deny"},
        },
    )
    add(f"{ENVOY}/v1alpha1", "ClientTrafficPolicy", "falaj", spec={"tls": {"minVersion": "1.2"}})
    add(f"{ENVOY}/v1alpha1", "BackendTrafficPolicy", "falaj", spec={"rateLimit": {"requests": 10}})
    add("v1", "Service", "inference", declared=False, spec={"type": "ClusterIP"})


def _operation(made: Objects) -> None:
    add = made.add
    add("policies.kyverno.io/v1", "ValidatingPolicy", "images", namespace=None, spec={"validationActions": ["Deny"]})
    add(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "kyverno-resource-validating-webhook-cfg",
        namespace=None,
        declared=False,
        webhooks=[{"name": "validate.kyverno.svc", "failurePolicy": "Fail"}],
    )
    add("monitoring.coreos.com/v1", "ServiceMonitor", "inference", spec={"endpoints": [{"port": "http"}]})
    place = {"objectStorage": {"bucket": "falaj-artifacts"}}
    add("velero.io/v1", "BackupStorageLocation", "default", spec=place, status={"phase": "Available"})
    add("velero.io/v1", "Schedule", "daily", declared=False, spec={}, status={"lastBackup": NOW.isoformat()})
    add("storage.k8s.io/v1", "StorageClass", "encrypted", namespace=None, parameters={"encrypted": "true"})
    add("v1", "PersistentVolumeClaim", "loki", declared=False, spec={}, status={"phase": "Bound"})
    add("scheduling.k8s.io/v1", "PriorityClass", "falaj-service", namespace=None, value=1000)
    available = {"conditions": [{"type": "Available", "status": "True"}]}
    service = {"service": {"name": "metrics-server"}}
    add(
        "apiregistration.k8s.io/v1",
        "APIService",
        "v1beta1.metrics.k8s.io",
        namespace=None,
        spec=service,
        status=available,
    )


def _look(objects: Objects, *parts: str) -> dict[str, str]:
    report = verify(Declared("test", objects.declared), cluster=Known(objects), parts=parts)
    return {check.id: check.result for check in report.checks}


PART_NAMES = [part for part in PARTS["kubernetes"] if part != "entrance"]


def test_what_is_as_it_must_be_holds() -> None:
    found = _look(_objects(), *PART_NAMES)
    # Without a policy beside the declared ones there is none to judge.
    assert {check for check, result in found.items() if result != "passed"} == {"traffic.nothing_undeclared_opens"}
    assert found["traffic.nothing_undeclared_opens"] == "skipped"


def _spec(kind: str, name: str, **changes: Any) -> Callable[[Objects], object]:
    return lambda objects: objects.one(kind, name)["spec"].update(changes)


def _status(kind: str, name: str, **changes: Any) -> Callable[[Objects], object]:
    return lambda objects: objects.one(kind, name)["status"].update(changes)


def _label(kind: str, name: str, label: str, value: str) -> Callable[[Objects], object]:
    return lambda objects: objects.one(kind, name)["metadata"]["labels"].update({label: value})


def _gone(kind: str, name: str) -> Callable[[Objects], object]:
    return lambda objects: objects.remove(kind, name)


def _pod(**changes: Any) -> Callable[[Objects], object]:
    return lambda objects: objects.one("Deployment", "inference")["spec"]["template"]["spec"].update(changes)


def _container(**changes: Any) -> Callable[[Objects], object]:
    def change(objects: Objects) -> None:
        objects.one("Pod", "inference-1")["spec"]["containers"][0].update(changes)
        objects.one("Deployment", "inference")["spec"]["template"]["spec"]["containers"][0].update(changes)

    return change


def _beside(version: str, kind: str, name: str, **fields: Any) -> Callable[[Objects], object]:
    return lambda objects: objects.add(version, kind, name, declared=False, **fields)


def _bound(role: str, kind: str, name: str) -> Callable[[Objects], object]:
    subject = {"kind": kind, "name": name, "namespace": "falaj"}
    return _beside(
        f"{RBAC}/v1", "ClusterRoleBinding", "new", namespace=None, roleRef={"name": role}, subjects=[subject]
    )


def _false(kind: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "False", "reason": "Broken"}]}


BROKEN: list[tuple[str, Callable[[Objects], object]]] = [
    ("namespaces.there", _gone("Namespace", "falaj")),
    ("namespaces.there", _label("Namespace", "falaj", "app.kubernetes.io/managed-by", "someone")),
    ("namespaces.there", _status("Namespace", "falaj", phase="Terminating")),
    ("namespaces.pod_security", _label("Namespace", "falaj", f"{SECURITY}/enforce", "baseline")),
    ("namespaces.pod_security_is_audited", _label("Namespace", "falaj", f"{SECURITY}/audit", "privileged")),
    (
        "namespaces.none_beside",
        _beside("v1", "Namespace", "more", namespace=None, labels={"app.kubernetes.io/managed-by": "falaj"}),
    ),
    ("namespaces.tenants_have_a_quota", _gone("ResourceQuota", "quota")),
    ("namespaces.quotas", _spec("ResourceQuota", "quota", hard={"pods": "1000"})),
    ("namespaces.quotas_have_room", _status("ResourceQuota", "quota", used={"pods": "10"})),
    ("namespaces.limits", _spec("LimitRange", "defaults", limits=[{"type": "Container", "default": {"cpu": "9"}}])),
    ("traffic.policies", _gone("NetworkPolicy", "default")),
    ("traffic.denied_by_default", _gone("NetworkPolicy", "default")),
    ("traffic.denied_by_default", _spec("NetworkPolicy", "default", ingress=[{}])),
    ("traffic.let_out_by_policy_alone", _spec("NetworkPolicy", "default", policyTypes=["Ingress"])),
    (
        "traffic.nothing_undeclared_opens",
        _beside("networking.k8s.io/v1", "NetworkPolicy", "open", spec=SELECTED | {"ingress": [{}]}),
    ),
    (
        "traffic.nothing_undeclared_opens",
        _beside(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "out",
            spec=SELECTED | {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}]},
        ),
    ),
    ("traffic.one_entrance", _beside("v1", "Service", "open", spec={"type": "LoadBalancer"})),
    ("traffic.one_entrance", _spec("Service", "inference", type="NodePort")),
    ("workloads.deployments", _container(image="registry.example.ae/falaj/platform:0.0.9")),
    ("workloads.available", _status("Deployment", "inference", **_false("Available"))),
    ("workloads.available", _status("Deployment", "inference", observedGeneration=0)),
    ("workloads.stateful_sets", _status("StatefulSet", "loki", readyReplicas=1)),
    ("workloads.daemon_sets", _status("DaemonSet", "agent", numberReady=1)),
    ("workloads.jobs", _status("Job", "databases", **_false("Complete"))),
    (
        "workloads.no_pod_fails",
        _status(
            "Pod",
            "inference-1",
            containerStatuses=[{"name": "inference", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
        ),
    ),
    ("workloads.no_pod_fails", _status("Pod", "inference-1", phase="Pending", message="no node fits")),
    ("workloads.disruption_budgets", _spec("PodDisruptionBudget", "inference", maxUnavailable=2)),
    ("workloads.disruption_is_possible", _status("PodDisruptionBudget", "inference", disruptionsAllowed=0)),
    ("workloads.autoscalers", _spec("HorizontalPodAutoscaler", "inference", maxReplicas=400)),
    ("workloads.autoscalers_act", _status("HorizontalPodAutoscaler", "inference", **_false("ScalingActive"))),
    ("workloads.spread", _spec("Pod", "inference-2", nodeName="node-1")),
    ("pods.no_root", _pod(securityContext={"runAsUser": 0})),
    ("pods.no_more_privileges", _container(securityContext={"privileged": True})),
    ("pods.system_calls", _pod(securityContext={"runAsNonRoot": True})),
    ("pods.apart_from_the_node", _pod(hostNetwork=True)),
    ("pods.apart_from_the_node", _pod(volumes=[{"name": "node", "hostPath": {"path": "/"}}])),
    ("pods.read_only", _container(securityContext=HARDENED | {"readOnlyRootFilesystem": False})),
    ("pods.requests", _container(resources={"requests": {"cpu": "1"}})),
    ("pods.images", _container(image="registry.example.ae/falaj/platform:latest")),
    ("pods.registry", _container(image="docker.io/falaj/platform:0.1.0")),
    ("pods.tokens", _pod(automountServiceAccountToken=True)),
    (
        "pods.accounts",
        lambda objects: objects.one("ServiceAccount", "inference").update({"automountServiceAccountToken": True}),
    ),
    ("pods.own_account", _pod(serviceAccountName="default")),
    ("rights.roles", lambda objects: objects.one("Role", "reader")["rules"].append({"verbs": ["*"]})),
    (
        "rights.role_bindings",
        lambda objects: objects.one("RoleBinding", "reader")["subjects"].append({"kind": "User", "name": "someone"}),
    ),
    ("rights.no_strangers", _bound("view", "Group", "system:unauthenticated")),
    ("rights.no_account_rules_the_cluster", _bound("cluster-admin", "ServiceAccount", "inference")),
    ("rights.default_accounts", _bound("view", "ServiceAccount", "default")),
    ("rights.everyone_signed_in", _bound("view", "Group", "system:authenticated")),
    ("secrets.external_secrets", _gone("ExternalSecret", "cache")),
    ("secrets.secrets_are_there", _status("ExternalSecret", "cache", **_false("Ready"))),
    ("secrets.secret_store", _status("ClusterSecretStore", "falaj", **_false("Ready"))),
    ("secrets.issuers", _status("ClusterIssuer", "gateway", **_false("Ready"))),
    ("secrets.certificates", _spec("Certificate", "falaj", dnsNames=["other.example.ae"])),
    ("secrets.certificates", _status("Certificate", "falaj", **_false("Ready"))),
    ("secrets.certificates_last", _status("Certificate", "falaj", notAfter=NOW.isoformat())),
    ("secrets.no_token_secrets", _beside("v1", "Secret", "token", type="kubernetes.io/service-account-token")),
    ("gateway.class", _status("GatewayClass", "falaj", **_false("Accepted"))),
    ("gateway.programmed", _status("Gateway", "falaj", addresses=[])),
    ("gateway.tls_alone", _spec("Gateway", "falaj", listeners=[{"name": "http", "protocol": "HTTP"}])),
    ("gateway.routes", _spec("HTTPRoute", "inference", rules=[{"backendRefs": [{"name": "mine", "port": 1}]}])),
    ("gateway.routes_are_accepted", _status("HTTPRoute", "inference", parents=[_false("Accepted")])),
    ("gateway.none_beside", _beside(f"{GATEWAY}/v1", "HTTPRoute", "open", spec={})),
    ("gateway.sign_in", _spec("SecurityPolicy", "falaj", authorization={"defaultAction": "Allow"})),
    ("gateway.clients", _spec("ClientTrafficPolicy", "falaj", tls={"minVersion": "1.0"})),
    ("gateway.backend_policies", _gone("BackendTrafficPolicy", "falaj")),
    ("gateway.references", _beside(f"{GATEWAY}/v1beta1", "ReferenceGrant", "open", spec={})),
    ("admission.policies", _spec("ValidatingPolicy", "images", validationActions=["Audit"])),
    *(
        (check, _label("Namespace", "falaj", f"{SECURITY}/enforce", "privileged"))
        for check in (
            "admission.root_is_refused",
            "admission.privilege_is_refused",
            "admission.the_nodes_folders_are_refused",
        )
    ),
    (
        "admission.operators_are_asked",
        lambda objects: objects.one("ValidatingWebhookConfiguration", "kyverno-resource-validating-webhook-cfg")[
            "webhooks"
        ][0].update(failurePolicy="Ignore"),
    ),
    ("nodes.ready", _status("Node", "node-1", **_false("Ready"))),
    (
        "nodes.pressure",
        _status("Node", "node-1", conditions=[{"type": "DiskPressure", "status": "True"}]),
    ),
    ("nodes.pools", _spec("NodePool", "own", limits={"cpu": "8000"})),
    ("nodes.pools_are_ready", _status("NodePool", "own", **_false("Ready"))),
    ("nodes.known_pools", _label("Node", "node-1", "falaj.ae/pool", "other")),
    ("operation.monitors", _gone("ServiceMonitor", "inference")),
    ("operation.backup_place", _status("BackupStorageLocation", "default", phase="Unavailable")),
    ("operation.backup_place", _spec("BackupStorageLocation", "default", objectStorage={"bucket": "elsewhere"})),
    ("operation.backups_are_made", _spec("Schedule", "daily", paused=True)),
    (
        "operation.backups_are_made",
        _status("Schedule", "daily", lastBackup=(NOW - dt.timedelta(days=4)).isoformat()),
    ),
    (
        "operation.storage_class",
        lambda objects: objects.one("StorageClass", "encrypted")["parameters"].update(encrypted="false"),
    ),
    ("operation.volumes", _status("PersistentVolumeClaim", "loki", phase="Pending")),
    ("operation.priorities", lambda objects: objects.one("PriorityClass", "falaj-service").update(value=1)),
    ("operation.extended_apis", _status("APIService", "v1beta1.metrics.k8s.io", **_false("Available"))),
]


@pytest.mark.parametrize(("check", "broken"), BROKEN, ids=[check for check, _ in BROKEN])
def test_what_is_broken_is_found(check: str, broken: Callable[[Objects], object]) -> None:
    objects = _objects()
    broken(objects)
    assert _look(objects, check.partition(".")[0])[check] == "failed"


def test_each_check_of_a_cluster_was_seen_to_fail() -> None:
    assert set(_look(_objects(), *PART_NAMES)) == {check for check, _ in BROKEN}


def test_what_cannot_be_asked_is_no_pass() -> None:
    objects = _objects()
    for number in (1, 2):
        objects.remove("Node", f"node-{number}")
    found = _look(objects, "workloads", "secrets", "nodes")
    assert found["workloads.available"] == found["secrets.certificates_last"] == found["nodes.ready"] == "skipped"
    assert found["workloads.deployments"] == "passed"

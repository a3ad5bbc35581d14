"""Pods run with no more than they need: the Pod Security Standards' profile restricted, and what it does not ask."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from policies import pods
from policies.controls import AVAILABILITY, COST, HARDENING
from policies.graph import Graph
from policies.model import Faults, Judge, Resource, Rule, Severity
from policies.pods import Container, Pod

_HIGH, _CRITICAL, _MEDIUM, _LOW = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM, Severity.LOW
_VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
)
_PSS = "A pod that is taken over would have its node, and with it every other pod: "


def _pods(judge: Callable[[Pod], Faults]) -> Judge:
    def judged(resource: Resource, _graph: Graph) -> Faults:
        for pod in pods.pods(resource):
            yield from judge(pod)

    return judged


def _containers(judge: Callable[[Container, Pod], Faults]) -> Judge:
    def judged(resource: Resource, _graph: Graph) -> Faults:
        for pod in pods.pods(resource):
            for container in pod.containers():
                for fault in judge(container, pod):
                    yield f"{container.name}: {fault}"

    return judged


def _said(container: Container, value: Any, good: Any) -> Any:
    """What a container says; of the runtime's own of a model, what it leaves out is the runtime's to say."""
    return good if value is None and container.kind == "model" else value


def _privileged(container: Container, _pod: Pod) -> Faults:
    if container.security.get("privileged") is True:
        yield "it is privileged"


def _escalation(container: Container, _pod: Pod) -> Faults:
    if _said(container, container.security.get("allowPrivilegeEscalation"), False) is not False:
        yield "allowPrivilegeEscalation is not false"


def _non_root(container: Container, pod: Pod) -> Faults:
    if _said(container, container.security.get("runAsNonRoot", pod.security.get("runAsNonRoot")), True) is not True:
        yield "runAsNonRoot is not true"


def _user(container: Container, pod: Pod) -> Faults:
    user = container.security.get("runAsUser", pod.security.get("runAsUser"))
    if user == 0:
        yield "it runs as root"
    group = container.security.get("runAsGroup", pod.security.get("runAsGroup"))
    if group == 0:
        yield "it runs in root's group"


def _host(key: str, what: str) -> Judge:
    def judge(pod: Pod) -> Faults:
        if pod.spec.get(key) is True:
            yield f"it shares its node's {what}"

    return _pods(judge)


def _host_path(pod: Pod) -> Faults:
    for volume in pod.volumes:
        if "hostPath" in volume:
            yield f"volume {volume.get('name')} is a folder of the node"


def _volume_types(pod: Pod) -> Faults:
    for volume in pod.volumes:
        kinds = set(volume) - {"name", *_VOLUMES, "hostPath"}
        if kinds:
            yield f"volume {volume.get('name')} is of type {', '.join(sorted(kinds))}"


def _host_port(container: Container, _pod: Pod) -> Faults:
    for port in container.spec.get("ports") or ():
        if isinstance(port, Mapping) and port.get("hostPort"):
            yield "it takes a port of its node"


def _dropped(container: Container, _pod: Pod) -> Faults:
    dropped = (container.security.get("capabilities") or {}).get("drop")
    if "ALL" not in (_said(container, dropped, ["ALL"]) or ()):
        yield "capabilities.drop lacks ALL"


def _added(container: Container, _pod: Pod) -> Faults:
    added = set((container.security.get("capabilities") or {}).get("add") or ()) - {"NET_BIND_SERVICE"}
    if added:
        yield f"it has {', '.join(sorted(map(str, added)))}"


def _seccomp(container: Container, pod: Pod) -> Faults:
    profile = container.security.get("seccompProfile") or pod.security.get("seccompProfile") or {}
    if _said(container, profile.get("type"), "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile is not RuntimeDefault"


def _read_only(container: Container, _pod: Pod) -> Faults:
    if _said(container, container.security.get("readOnlyRootFilesystem"), True) is not True:
        yield "readOnlyRootFilesystem is not true"


def _proc_mount(container: Container, _pod: Pod) -> Faults:
    if container.security.get("procMount", "Default") != "Default":
        yield "procMount is not Default"


def _sysctls(pod: Pod) -> Faults:
    for one in pod.security.get("sysctls") or ():
        if isinstance(one, Mapping) and one.get("name") not in _SYSCTLS:
            yield f"it sets {one.get('name')}"


def _selinux(container: Container, pod: Pod) -> Faults:
    for options in (container.security.get("seLinuxOptions"), pod.security.get("seLinuxOptions")):
        if isinstance(options, Mapping) and (options.get("user") or options.get("role")):
            yield "it sets an SELinux user or role"
    for profile in (container.security.get("appArmorProfile"), pod.security.get("appArmorProfile")):
        if isinstance(profile, Mapping) and profile.get("type") == "Unconfined":
            yield "AppArmor does not confine it"


def _requests(container: Container, _pod: Pod) -> Faults:
    given = (container.spec.get("resources") or {}).get("requests") or {}
    for key in ("cpu", "memory"):
        if key not in given and container.kind != "ephemeralContainers":
            yield f"it does not say how much {key} it needs"


def _memory_limit(container: Container, _pod: Pod) -> Faults:
    given = (container.spec.get("resources") or {}).get("limits") or {}
    if "memory" not in given and container.kind != "ephemeralContainers":
        yield "nothing limits its memory, so that it can starve its neighbours"


def _probes(resource: Resource, _graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        for container in pod.containers():
            if container.kind != "containers":
                continue
            for probe in ("readinessProbe", "livenessProbe"):
                if probe not in container.spec:
                    yield f"{container.name}: {probe} is absent"


def _namespace(resource: Resource, _graph: Graph) -> Faults:
    if pods.namespace(resource) in (None, "default"):
        yield "it is in the namespace default"


def _account(pod: Pod) -> Faults:
    if pod.spec.get("serviceAccountName") in (None, "", "default"):
        yield "it has the namespace's default service account"


def _token(resource: Resource, graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        if pod.spec.get("automountServiceAccountToken") is False:
            continue
        if pod.spec.get("automountServiceAccountToken") is None:
            account = pods.account(resource, pod, graph)
            if account is not None and account.value("automountServiceAccountToken") is False:
                continue
        elif _bound(resource, pod, graph):
            continue
        yield "it has a token of the cluster's API, and no rights there"


def _bound(resource: Resource, pod: Pod, graph: Graph) -> bool:
    """Whether a binding gives the pod's service account rights in the cluster."""
    key = pods.namespace(resource), str(pod.spec.get("serviceAccountName"))
    kinds = ("RoleBinding", "ClusterRoleBinding")
    return any(graph.found(f"kubernetes:rbac.authorization.k8s.io/v1:{kind}", _subjects, key) for kind in kinds)


def _subjects(binding: Resource) -> Iterator[tuple[object, str]]:
    for subject in binding.inputs.get("subjects") or ():
        if isinstance(subject, Mapping):
            yield subject.get("namespace"), str(subject.get("name"))


def _plain_secret(container: Container, _pod: Pod) -> Faults:
    marks = ("PASSWORD", "SECRET_KEY", "ACCESS_KEY", "API_KEY", "PRIVATE_KEY", "TOKEN", "CREDENTIAL")
    for variable in container.spec.get("env") or ():
        if not isinstance(variable, Mapping):
            continue
        name, value = str(variable.get("name", "")).upper(), variable.get("value")
        file = name.endswith(("_FILE", "_PATH", "_URL", "_URI"))
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
        if str(reference.get("name", "")).endswith("pseudonym"):
            yield f"{variable.get('name')} is the key of the pseudonyms, which belongs in a file"
        if value and not file and any(name.endswith(mark) or f"{mark}_" in name for mark in marks):
            yield f"{variable.get('name')} is written in clear"
    words = [str(word) for key in ("command", "args") for word in container.spec.get(key) or ()]
    for flag, value in itertools.pairwise(words):
        if re.fullmatch(r"--?[\w-]*(password|passwd|secret|token|api-key)", flag) and not value.startswith(
            ("-", "$", "/")
        ):
            yield f"{flag} is written in clear among its arguments"


def _shared_processes(pod: Pod) -> Faults:
    if pod.spec.get("shareProcessNamespace") is True:
        yield "its containers see each other's processes and files"


def _level(resource: Resource, _graph: Graph) -> Faults:
    level = pods.label(resource, "pod-security.kubernetes.io/enforce")
    if level is None:
        yield "no pod security level is enforced"
    elif level == "privileged" or (level == "baseline" and pods.label(resource, "falaj.ae/tenant") == "true"):
        yield f"pods of level {level} may run there"
    elif level not in ("restricted", "baseline"):
        yield f"there is no level {level}"


def _quota(resource: Resource, graph: Graph) -> Faults:
    """A namespace in which people start pods has a quota and defaults."""
    if pods.label(resource, "falaj.ae/tenant") != "true":
        return
    name = (resource.inputs.get("metadata") or {}).get("name")
    for kind, what in (("ResourceQuota", "quota"), ("LimitRange", "defaults")):
        if not pods.of_namespace(f"kubernetes:core/v1:{kind}", name, graph):
            yield f"people start pods in it, and it has no {what}"


def _gpu_quota(resource: Resource, _graph: Graph) -> Faults:
    hard = (resource.inputs.get("spec") or {}).get("hard") or {}
    if not any(key.endswith("nvidia.com/gpu") for key in hard):
        yield "nothing limits its GPUs"
    for key in ("services.loadbalancers", "services.nodeports"):
        if str(hard.get(key, "0")) != "0":
            yield f"its services may be open to the outside: {key} is not 0"


def _config_secret(resource: Resource, _graph: Graph) -> Faults:
    for path, text in _texts(resource.inputs.get("data") or {}):
        for mark in ("-----BEGIN PRIVATE KEY", "-----BEGIN RSA PRIVATE KEY", "-----BEGIN EC PRIVATE KEY", "AKIA"):
            if mark in text:
                yield f"{path} holds a secret, and everyone of the namespace reads a ConfigMap"


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str):
                yield str(key), item


def _literal_secret(resource: Resource, _graph: Graph) -> Faults:
    for section in ("data", "stringData"):
        for key, value in (resource.inputs.get(section) or {}).items():
            if isinstance(value, str) and value and value not in ("[secret]", "[unknown]"):
                yield f"{section}.{key} is written in the program, and so in its state"


def _rule(
    name: str,
    title: str,
    severity: Severity,
    why: str,
    remedy: str,
    judge: Judge,
    *known_as: str,
    types: tuple[str, ...] = pods.ALL,
    controls: tuple[str, ...] = HARDENING,
) -> Rule:
    return Rule(
        id=name,
        title=title,
        severity=severity,
        types=types,
        why=why,
        remedy=remedy,
        controls=controls,
        judge=judge,
        known_as=known_as,
    )


_POD = "Set {} in the pod; infra/substrates/kubernetes/workload.py does so for every workload."

RULES: tuple[Rule, ...] = (
    _rule(
        "pod-privileged",
        "No container is privileged",
        _CRITICAL,
        _PSS + "a privileged container has it already.",
        _POD.format("securityContext.privileged to false"),
        _containers(_privileged),
        "CKV_K8S_16",
        "PSS baseline: Privileged Containers",
        controls=(*HARDENING, "cis-eks-4.2.1"),
    ),
    _rule(
        "pod-escalation",
        "No container gains rights",
        _HIGH,
        _PSS + "a program of root's in the image is enough.",
        _POD.format("securityContext.allowPrivilegeEscalation to false"),
        _containers(_escalation),
        "CKV_K8S_20",
        "PSS restricted: Privilege Escalation",
        controls=(*HARDENING, "cis-eks-4.2.5"),
    ),
    _rule(
        "pod-non-root",
        "No container may be root",
        _HIGH,
        _PSS + "root in a container is root on the node after one fault.",
        _POD.format("securityContext.runAsNonRoot to true"),
        _containers(_non_root),
        "CKV_K8S_23",
        "PSS restricted: Running as Non-root",
    ),
    _rule(
        "pod-user",
        "No container runs as root or in root's group",
        _HIGH,
        _PSS + "root in a container is root on the node after one fault.",
        _POD.format("securityContext.runAsUser and runAsGroup to a user of the image"),
        _containers(_user),
        "CKV_K8S_40",
        "PSS restricted: Running as Non-root user",
    ),
    _rule(
        "pod-host-network",
        "No pod shares its node's network",
        _HIGH,
        _PSS + "network policies do not hold for it, and it reaches the node's services.",
        _POD.format("hostNetwork to false"),
        _host("hostNetwork", "network"),
        "CKV_K8S_19",
        "PSS baseline: Host Namespaces",
        controls=(*HARDENING, "cis-eks-4.2.4"),
    ),
    _rule(
        "pod-host-processes",
        "No pod sees its node's processes",
        _HIGH,
        _PSS + "it reads secrets from other processes' memory.",
        _POD.format("hostPID to false"),
        _host("hostPID", "processes"),
        "CKV_K8S_17",
        "PSS baseline: Host Namespaces",
        controls=(*HARDENING, "cis-eks-4.2.2"),
    ),
    _rule(
        "pod-host-ipc",
        "No pod shares its node's memory segments",
        _HIGH,
        _PSS + "it reads what others share.",
        _POD.format("hostIPC to false"),
        _host("hostIPC", "memory segments"),
        "CKV_K8S_18",
        "PSS baseline: Host Namespaces",
        controls=(*HARDENING, "cis-eks-4.2.3"),
    ),
    _rule(
        "pod-host-path",
        "No pod mounts a folder of its node",
        _HIGH,
        _PSS + "the node's files are its keys.",
        "Use an emptyDir or a claim: stores of a Workload in infra/services.",
        _pods(_host_path),
        "CKV_K8S_29",
        "PSS baseline: HostPath Volumes",
    ),
    _rule(
        "pod-volume-types",
        "Volumes are of kinds that the cluster governs",
        _MEDIUM,
        "Other kinds reach storage that no policy of the cluster sees.",
        "Use a claim, an emptyDir, a ConfigMap, a Secret or a projected volume.",
        _pods(_volume_types),
        "PSS restricted: Volume Types",
    ),
    _rule(
        "pod-host-port",
        "No container takes a port of its node",
        _HIGH,
        "It goes around the gateway, which asks who comes in.",
        _POD.format("no hostPort"),
        _containers(_host_port),
        "CKV_K8S_26",
        "PSS baseline: Host Ports",
    ),
    _rule(
        "pod-capabilities-dropped",
        "Containers drop all capabilities",
        _HIGH,
        _PSS + "each capability is a part of root.",
        _POD.format("securityContext.capabilities.drop to [ALL]"),
        _containers(_dropped),
        "CKV_K8S_37",
        "CKV_K8S_28",
        "PSS restricted: Capabilities",
    ),
    _rule(
        "pod-capabilities-added",
        "Containers add no capabilities",
        _HIGH,
        _PSS + "each capability is a part of root.",
        _POD.format("no securityContext.capabilities.add"),
        _containers(_added),
        "CKV_K8S_25",
        "CKV_K8S_39",
        "PSS baseline: Capabilities",
    ),
    _rule(
        "pod-seccomp",
        "Containers' system calls are filtered",
        _MEDIUM,
        _PSS + "faults of the kernel are reached by calls that no service needs.",
        _POD.format("securityContext.seccompProfile.type to RuntimeDefault"),
        _containers(_seccomp),
        "CKV_K8S_31",
        "PSS restricted: Seccomp",
    ),
    _rule(
        "pod-read-only",
        "Containers cannot change their image",
        _MEDIUM,
        "What an intruder leaves behind has no place.",
        _POD.format("securityContext.readOnlyRootFilesystem to true"),
        _containers(_read_only),
        "CKV_K8S_22",
    ),
    _rule(
        "pod-proc-mount",
        "Containers do not unmask /proc",
        _HIGH,
        _PSS + "it shows what the node hides.",
        _POD.format("no securityContext.procMount"),
        _containers(_proc_mount),
        "PSS baseline: /proc Mount Type",
    ),
    _rule(
        "pod-sysctls",
        "Pods set no unsafe parameters of the kernel",
        _MEDIUM,
        "They hold for the whole node.",
        _POD.format("no securityContext.sysctls"),
        _pods(_sysctls),
        "PSS baseline: Sysctls",
    ),
    _rule(
        "pod-mandatory-access",
        "Containers do not leave AppArmor or SELinux",
        _MEDIUM,
        _PSS + "they are the last fence.",
        _POD.format("no seLinuxOptions.user or role, and no AppArmor profile Unconfined"),
        _containers(_selinux),
        "PSS baseline: AppArmor",
        "PSS baseline: SELinux",
    ),
    _rule(
        "pod-shared-processes",
        "Containers of a pod do not see each other's processes",
        _LOW,
        "A sidecar would read the service's secrets.",
        _POD.format("no shareProcessNamespace"),
        _pods(_shared_processes),
    ),
    _rule(
        "pod-requests",
        "Containers say what they need",
        _MEDIUM,
        "Otherwise they are put where there is no room, and are the first to be stopped.",
        "Set size in the service's section of stacks/Pulumi.<stack>.yaml.",
        _containers(_requests),
        "CKV_K8S_10",
        "CKV_K8S_12",
        types=pods.TYPES,
        controls=(*COST, *AVAILABILITY),
    ),
    _rule(
        "pod-memory-limit",
        "Containers' memory is limited",
        _MEDIUM,
        "A leak in one would stop its neighbours.",
        "Set size in the service's section of stacks/Pulumi.<stack>.yaml.",
        _containers(_memory_limit),
        "CKV_K8S_13",
        types=(*pods.TYPES, *pods.RUNTIMES),
        controls=(*COST, *AVAILABILITY),
    ),
    _rule(
        "pod-probes",
        "Services are asked whether they are well",
        _MEDIUM,
        "Otherwise requests go to what does not answer.",
        "Declare readiness on the workload: infra/services.",
        _probes,
        "CKV_K8S_8",
        "CKV_K8S_9",
        types=pods.SERVERS,
        controls=AVAILABILITY,
    ),
    _rule(
        "pod-namespace",
        "Nothing runs in the namespace default",
        _MEDIUM,
        "Policies and quotas hold by namespace.",
        "Name a namespace of the platform.",
        _namespace,
        "CKV_K8S_21",
        types=tuple(kind for kind in pods.ALL if "Cluster" not in kind),
        controls=(*HARDENING, "cis-eks-4.5.1", "cis-eks-4.5.3"),
    ),
    _rule(
        "pod-account",
        "Each workload has a service account of its own",
        _MEDIUM,
        "Rights of one would be rights of all.",
        "Name serviceAccountName; workloads get one each.",
        _pods(_account),
        "CKV_K8S_41",
        types=pods.TYPES,
        controls=(*HARDENING, "cis-eks-4.1.5"),
    ),
    _rule(
        "pod-token",
        "Pods have a token of the cluster's API if they have rights there",
        _MEDIUM,
        "A token helps only who takes the pod over.",
        "Leave cluster_api false on the workload: infra/services.",
        _token,
        "CKV_K8S_38",
        types=pods.TYPES,
        controls=(*HARDENING, "cis-eks-4.1.6"),
    ),
    _rule(
        "pod-secret-in-clear",
        "No variable holds a secret in clear",
        _CRITICAL,
        "Whoever may see the pod sees it, and so does the state.",
        "Declare it in secrets of the workload: infra/services.",
        _containers(_plain_secret),
        "CKV_SECRET_6",
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "cis-eks-4.4.1"),
    ),
    _rule(
        "config-map-secret",
        "No ConfigMap holds a secret",
        _CRITICAL,
        "Everyone of the namespace reads it.",
        "Put it into the stack's secret store, and name it as a secret of the workload.",
        _config_secret,
        types=("kubernetes:core/v1:ConfigMap",),
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "cis-eks-4.4.2"),
    ),
    _rule(
        "secret-from-store",
        "Secrets come from the stack's secret store",
        _HIGH,
        "What the program writes is in its text and in its state.",
        "Name it where stacks/Pulumi.<stack>.yaml asks for a secret: External Secrets brings it.",
        _literal_secret,
        types=("kubernetes:core/v1:Secret",),
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "cis-eks-4.4.2"),
    ),
    _rule(
        "namespace-level",
        "Every namespace enforces a pod security level",
        _HIGH,
        "It refuses what no rule here has seen.",
        "Make the namespace by cluster.namespace(…); a level of privileged needs an exception in exceptions/.",
        _level,
        types=("kubernetes:core/v1:Namespace",),
        controls=(*HARDENING, "cis-eks-4.2.1", "cis-eks-4.5.1"),
    ),
    _rule(
        "namespace-quota",
        "Namespaces in which people start pods have quotas",
        _MEDIUM,
        "One run would take all that there is.",
        "Set quota in the part's section of stacks/Pulumi.<stack>.yaml.",
        _quota,
        types=("kubernetes:core/v1:Namespace",),
        controls=COST,
    ),
    _rule(
        "quota-gpus",
        "Quotas limit GPUs, and allow no services open to the outside",
        _LOW,
        "They cost the most.",
        "Set quota.gpus in the part's section of stacks/Pulumi.<stack>.yaml.",
        _gpu_quota,
        types=("kubernetes:core/v1:ResourceQuota",),
        controls=COST,
    ),
)

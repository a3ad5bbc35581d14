"""What may be put into the cluster at all."""

from typing import Any

from verify.asked import Each
from verify.cluster import LEVEL, Cluster, namespaced
from verify.declared import Declared, Inputs, differences

_IMAGE = "registry.k8s.io/pause:3.10"


def test_policies(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every policy of admission is there, as declared, and refuses where it is declared to."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        return list(differences(inputs["spec"], found["spec"]))

    each(
        {
            f"{kind.partition(':')[2]} {name}": inputs
            for kind in (
                "policies.kyverno.io:ValidatingPolicy",
                "admissionregistration.k8s.io:ValidatingAdmissionPolicy",
                "admissionregistration.k8s.io:ValidatingAdmissionPolicyBinding",
            )
            for name, inputs in namespaced(declared, kind).items()
        },
        judge,
    )


def test_root_is_refused(each: Each, declared: Declared, cluster: Cluster) -> None:
    """A pod that runs as root is refused in every restricted namespace; the trial makes none."""
    each(_declared(declared, "restricted"), lambda name: _refused(cluster, _pod(name, {})))


def test_privilege_is_refused(each: Each, declared: Declared, cluster: Cluster) -> None:
    """A privileged pod is refused in every namespace that is not privileged; the trial makes none."""
    wanted = _declared(declared, "restricted", "baseline")
    each(wanted, lambda name: _refused(cluster, _pod(name, {"privileged": True})))


def test_the_nodes_folders_are_refused(each: Each, declared: Declared, cluster: Cluster) -> None:
    """A pod that mounts a folder of its node is refused in every restricted namespace; the trial makes none."""

    def judge(name: str) -> str | None:
        pod = _pod(name, _HARDENED)
        pod["spec"]["volumes"] = [{"name": "node", "hostPath": {"path": "/"}}]
        return _refused(cluster, pod)

    each(_declared(declared, "restricted"), judge)


def test_operators_are_asked(each: Each, cluster: Cluster) -> None:
    """No webhook of Kyverno lets pass what it cannot be asked about."""

    def judge(hooks: list[dict[str, Any]]) -> list[str]:
        return [f"{hook['name']} ignores failures" for hook in hooks if hook.get("failurePolicy") != "Fail"]

    found = cluster.found("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
    each(
        {name: item["webhooks"] for (_, name), item in found.items() if name.startswith("kyverno-resource-validating")},
        judge,
    )


_HARDENED = {
    "runAsNonRoot": True,
    "runAsUser": 10_001,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _declared(declared: Declared, *levels: str) -> list[str]:
    """Namespaces that are declared with one of these Pod Security Standards."""
    every = (inputs["metadata"] for inputs in declared.of("core:Namespace").values())
    return sorted(metadata["name"] for metadata in every if metadata.get("labels", {}).get(LEVEL) in levels)


def _refused(cluster: Cluster, pod: dict[str, Any]) -> str | None:
    return "it was let pass" if cluster.would_take(pod) is None else None


def _pod(namespace: str, context: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": "trial",
        "image": _IMAGE,
        "securityContext": context,
        # A quota would refuse what asks for nothing, and the refusal would prove nothing.
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "falaj-verify", "namespace": namespace},
        "spec": {"containers": [container]},
    }

"""What an object needs must be created before it, and deleted after it."""

from collections.abc import Iterator

from infra.checks.objects import Objects

_BUILT_IN = (
    "kubernetes:apps/",
    "kubernetes:autoscaling/",
    "kubernetes:batch/",
    "kubernetes:core/",
    "kubernetes:networking.k8s.io/",
    "kubernetes:policy/",
    "kubernetes:rbac.authorization.k8s.io/",
    "kubernetes:scheduling.k8s.io/",
    "kubernetes:storage.k8s.io/",
    "kubernetes:admissionregistration.k8s.io/",
    "kubernetes:apiextensions.k8s.io/",
)
_DEFINED_BY = {
    "external-secrets.io": ("external-secrets", "external-secrets"),
    "gateway.networking.k8s.io": ("envoy-gateway", "gateway-helm"),
    "gateway.envoyproxy.io": ("envoy-gateway", "gateway-helm"),
    "monitoring.coreos.com": ("prometheus-operator", "kube-prometheus-stack"),
    "cert-manager.io": ("cert-manager", "cert-manager"),
    "kyverno.io": ("kyverno", "kyverno"),
    "policies.kyverno.io": ("kyverno", "kyverno"),
    "serving.kserve.io": ("", "kserve-crd"),
    "karpenter.sh": ("", "karpenter"),
    "karpenter.k8s.aws": ("", "karpenter"),
    "keda.sh": ("keda", "keda"),
    "velero.io": ("", "velero"),
    "trainer.kubeflow.org": ("", "kubeflow-trainer"),
    "sparkoperator.k8s.io": ("", "spark-operator"),
    "snapshot.storage.k8s.io": ("", "snapshot-controller"),
}
"""API group → what a site may have installed already, and the chart or EKS addon that defines the group's kinds."""


def order(objects: Objects, installed: frozenset[str]) -> Iterator[str]:
    """Objects that could come before their namespace or the chart that defines their kind, or would never go.

    Args:
        installed: Parts that the site runs already.
    """
    namespaces = {name: resource.urn for (_, name), resource in objects.of("Namespace").items()}
    charts = {
        resource.inputs["chart"].rpartition("/")[2]: resource.urn
        for resource in objects.graph.resources
        if resource.type == "kubernetes:helm.sh/v4:Chart"
    } | {addon.inputs["addonName"]: addon.urn for addon in objects.named("aws:eks/addon:Addon")}
    for resource in objects.graph.resources:
        if not resource.type.startswith("kubernetes:"):
            continue
        here = f"{resource.type.rpartition(':')[2]} {resource.name}"
        metadata = resource.inputs.get("metadata", {})
        # A controller that takes one away puts it there, too.
        for finalizer in metadata.get("finalizers", ()):
            yield f"{here} has the finalizer {finalizer}, which no one takes away: a destroy would wait for ever"
        if resource.type.endswith(":Namespace"):
            continue
        namespace = metadata.get("namespace") or resource.inputs.get("namespace")
        if namespace and namespace not in ("kube-system", "default"):
            if namespace not in namespaces:
                yield f"{here} lives in the namespace {namespace}, which is not there"
            elif namespaces[namespace] not in objects.before(resource):
                yield f"{here} could come before its namespace {namespace}: let it depend on cluster.namespace(…)"
        if not resource.custom or resource.type.startswith(_BUILT_IN):
            continue
        group = resource.type.removeprefix("kubernetes:").partition("/")[0]
        part, chart = _DEFINED_BY.get(group, ("", ""))
        if part and part in installed:
            continue
        if chart not in charts:
            yield f"{here} is of the group {group}, which no chart of the stack defines"
        elif charts[chart] not in objects.before(resource):
            yield f"{here} could come before the chart {chart}, which defines its kind: let it depend on the chart"

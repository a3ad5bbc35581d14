"""Who needs something at once must come after it: a race that is lost on a first deployment alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from infra.checks.objects import Objects
from infra.plan import Resource

_POLICIES = ("aws:iam/rolePolicy:RolePolicy", "aws:iam/rolePolicyAttachment:RolePolicyAttachment")
_PODS = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
_USERS = (
    "aws:eks/cluster:Cluster",
    "aws:eks/nodeGroup:NodeGroup",
    _PODS,
    "aws:backup/selection:Selection",
)
"""Types that use their role as soon as they are there."""
_CHARTS = ("kubernetes:helm.sh/v4:Chart", "kubernetes:kustomize/v2:Directory")


@dataclass(frozen=True)
class _Wait:
    """One type that comes after another.

    Attributes:
        where: Inputs that the first one must have for this.
        other_where: Inputs of the other one.
        same: An input that both refer to the same resource by; empty where any will do.
    """

    type: str
    other: str
    why: str
    where: Mapping[str, str] = field(default_factory=dict)
    other_where: Mapping[str, str] = field(default_factory=dict)
    same: str = ""


_WAITS = (
    _Wait(
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "S3 refuses the one while the other is changed",
        same="bucket",
    ),
    _Wait(
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        "aws:s3/bucketVersioning:BucketVersioning",
        "what is locked needs versions",
        same="bucket",
    ),
    _Wait(
        "aws:cfg/recorderStatus:RecorderStatus",
        "aws:cfg/deliveryChannel:DeliveryChannel",
        "a recorder without a channel is not started",
    ),
    _Wait("aws:cfg/deliveryChannel:DeliveryChannel", "aws:cfg/recorder:Recorder", "a channel needs a recorder"),
    _Wait(
        "aws:opensearch/domain:Domain",
        "aws:cloudwatch/logResourcePolicy:LogResourcePolicy",
        "a domain that may not write its log is refused",
    ),
    _Wait(
        "aws:ec2/natGateway:NatGateway",
        "aws:ec2/internetGateway:InternetGateway",
        "it is joined to nothing before",
    ),
    _Wait(
        "aws:eks/addon:Addon",
        "aws:eks/nodeGroup:NodeGroup",
        "its pods need machines, and it stays degraded without",
        where={"addonName": "coredns"},
    ),
    _Wait(
        "aws:eks/nodeGroup:NodeGroup",
        "aws:eks/addon:Addon",
        "machines are not ready without the pods' network",
        other_where={"addonName": "vpc-cni"},
    ),
    _Wait(
        "pulumi:providers:kubernetes",
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        "whoever deploys may not enter before",
    ),
    _Wait(
        "kubernetes:gateway.networking.k8s.io/v1:GatewayClass",
        "kubernetes:helm.sh/v4:Chart",
        "its load balancer is made, and on a destroy deleted, by the controller",
        other_where={"chart": "aws-load-balancer-controller"},
    ),
    _Wait(
        "kubernetes:helm.sh/v4:Chart",
        "kubernetes:helm.sh/v4:Chart",
        "it makes the certificate of the webhook",
        where={"chart": "aws-load-balancer-controller"},
        other_where={"chart": "cert-manager"},
    ),
)
_LOGS = {
    "aws:eks/cluster:Cluster": ("name", "/aws/eks/{}/"),
    "aws:rds/instance:Instance": ("identifier", "/aws/rds/instance/{}/"),
}
"""Types that make their log groups themselves, without key and retention: their name, and how groups begin."""


def waits(objects: Objects) -> Iterator[str]:
    """Resources that could come before what they need at once."""
    for entry in _WAITS:
        others = [one for one in objects.named(entry.other) if _is(one, entry.other_where)]
        for resource in objects.named(entry.type):
            if _is(resource, entry.where):
                same = set(resource.property_dependencies.get(entry.same, ()))
                for other in others:
                    if not entry.same or same & set(other.property_dependencies.get(entry.same, ())):
                        yield from _early(objects, resource, other, entry.why)
    yield from _roles(objects)
    yield from _logs(objects)
    yield from _buckets(objects)
    yield from _pods(objects)


def _is(resource: Resource, inputs: Mapping[str, str]) -> bool:
    return all(str(resource.inputs.get(key, "")).rpartition("/")[2] == value for key, value in inputs.items())


def _early(objects: Objects, resource: Resource, other: Resource, why: str) -> Iterator[str]:
    if other.urn not in objects.before(resource):
        told = f"{other.type.rpartition(':')[2]} {other.name}"
        yield f"{resource.type.rpartition(':')[2]} {resource.name} could come before {told}: {why}"


def _roles(objects: Objects) -> Iterator[str]:
    """Users of a role before its rights: what they do first is refused."""
    rights: dict[str, list[Resource]] = {}
    for kind in _POLICIES:
        for policy in objects.named(kind):
            for urn in policy.property_dependencies.get("role", ()):
                rights.setdefault(urn, []).append(policy)
    for kind in _USERS:
        for user in objects.named(kind):
            for urns in user.property_dependencies.values():
                for policy in (policy for urn in urns for policy in rights.get(urn, [])):
                    # What the stores need later is added to a role that is in use.
                    own = policy.name == objects.by_urn[policy.property_dependencies["role"][0]].name
                    if own or kind != _PODS:
                        yield from _early(objects, user, policy, "its role lacks these rights until then")


def _logs(objects: Objects) -> Iterator[str]:
    """Services that make their log groups themselves where ours are not there yet, and then ours clash with them."""
    for kind, (key, prefix) in _LOGS.items():
        for resource in objects.named(kind):
            begins = prefix.format(resource.inputs.get(key))
            for group in objects.named("aws:cloudwatch/logGroup:LogGroup"):
                if str(group.inputs.get("name", "")).startswith(begins):
                    yield from _early(
                        objects, resource, group, "it makes that log group itself, and ours clashes with it"
                    )


def _buckets(objects: Objects) -> Iterator[str]:
    """Services that write to a bucket, before its policy lets them."""
    names = {bucket.urn: bucket.inputs.get("bucket") for bucket in objects.named("aws:s3/bucket:Bucket")}
    for kind in ("aws:cloudtrail/trail:Trail", "aws:cfg/deliveryChannel:DeliveryChannel"):
        for resource in objects.named(kind):
            for policy in objects.named("aws:s3/bucketPolicy:BucketPolicy"):
                buckets = [names.get(urn) for urn in policy.property_dependencies.get("bucket", ())]
                if resource.inputs.get("s3BucketName") in buckets:
                    yield from _early(objects, resource, policy, "the bucket refuses it until then")


def _pods(objects: Objects) -> Iterator[str]:
    """Pods before what they need in order to start; charts, which have pods, before the roles of their namespace."""
    for link in objects.named(_PODS):
        account = (link.inputs.get("namespace"), link.inputs.get("serviceAccount"))
        for pod in objects.pods:
            if (pod.namespace, pod.spec.get("serviceAccountName")) == account:
                yield from _early(objects, pod.resource, link, "a pod that starts without its role stays without")
        for kind in _CHARTS:
            for chart in objects.named(kind):
                if chart.inputs.get("namespace") == account[0]:
                    yield from _early(objects, chart, link, "a pod that starts without its role stays without")
    secrets = objects.of("ExternalSecret")
    for pod in objects.pods:
        for name in sorted(pod.secrets):
            if (pod.namespace, name) in secrets:
                yield from _early(objects, pod.resource, secrets[pod.namespace, name], "it does not start without it")
        for name in sorted(pod.config_maps):
            if (pod.namespace, name) in objects.of("ConfigMap"):
                found = objects.of("ConfigMap")[pod.namespace, name]
                yield from _early(objects, pod.resource, found, "it does not start without it")
        for kind, key in (
            ("ServiceAccount", (pod.namespace, pod.spec.get("serviceAccountName", ""))),
            ("PriorityClass", ("", pod.spec.get("priorityClassName", ""))),
        ):
            if key in objects.of(kind):
                yield from _early(objects, pod.resource, objects.of(kind)[key], "it is refused without it")

"""What a resource names by text must be in the stack, under that name; what needs it at once, comes after it.

A reference to a resource's output orders by itself. A name does not, and a misspelt one is found by the service alone.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.checks.objects import Objects
from infra.plan import Resource

_CHART = "kubernetes:helm.sh/v4:Chart"
_HAND_WRITTEN = re.compile(
    r"^(?:(?:sg|subnet|vpc|rtb|igw)-[0-9a-f]{8,}|arn:aws:(?:kms|logs|sns|sqs):[^:*]+:\d+:[^*]+)$"
)


@dataclass(frozen=True)
class _Name:
    """Where one type names another.

    Attributes:
        at: Path of the name; lists on the way stand for each of their items.
        target: Type of what is named, and where it has its name.
        waits: Whether what it names has to be there when it is made.
    """

    type: str
    at: str
    target: str
    name: str
    waits: bool = True


_CLUSTER = ("aws:eks/cluster:Cluster", "name")
_ROLE = ("aws:iam/role:Role", "name")
_BUCKET = ("aws:s3/bucket:Bucket", "bucket")
_NAMES = (
    _Name("aws:rds/instance:Instance", "dbSubnetGroupName", "aws:rds/subnetGroup:SubnetGroup", "name"),
    _Name("aws:rds/instance:Instance", "parameterGroupName", "aws:rds/parameterGroup:ParameterGroup", "name"),
    _Name(
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "subnetGroupName",
        "aws:elasticache/subnetGroup:SubnetGroup",
        "name",
    ),
    _Name(
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "userGroupIds",
        "aws:elasticache/userGroup:UserGroup",
        "userGroupId",
    ),
    _Name("aws:elasticache/userGroup:UserGroup", "userIds", "aws:elasticache/user:User", "userId"),
    _Name("aws:iam/instanceProfile:InstanceProfile", "role", *_ROLE),
    _Name("aws:iam/rolePolicy:RolePolicy", "role", *_ROLE),
    _Name("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "role", *_ROLE),
    _Name("aws:eks/addon:Addon", "clusterName", *_CLUSTER),
    _Name("aws:eks/nodeGroup:NodeGroup", "clusterName", *_CLUSTER),
    _Name("aws:eks/accessEntry:AccessEntry", "clusterName", *_CLUSTER),
    _Name("aws:eks/podIdentityAssociation:PodIdentityAssociation", "clusterName", *_CLUSTER),
    _Name("aws:cloudwatch/eventTarget:EventTarget", "rule", "aws:cloudwatch/eventRule:EventRule", "name"),
    _Name("aws:backup/plan:Plan", "rules.targetVaultName", "aws:backup/vault:Vault", "name"),
    _Name("aws:ecr/lifecyclePolicy:LifecyclePolicy", "repository", "aws:ecr/repository:Repository", "name"),
    _Name("aws:cloudtrail/trail:Trail", "s3BucketName", *_BUCKET),
    _Name("aws:cfg/deliveryChannel:DeliveryChannel", "s3BucketName", *_BUCKET),
    _Name(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        "dimensions.DBInstanceIdentifier",
        "aws:rds/instance:Instance",
        "identifier",
        waits=False,
    ),
    _Name(
        "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
        "spec.instanceProfile",
        "aws:iam/instanceProfile:InstanceProfile",
        "name",
    ),
    _Name("kubernetes:velero.io/v1:BackupStorageLocation", "spec.objectStorage.bucket", *_BUCKET, waits=False),
    _Name(_CHART, "values.settings.clusterName", *_CLUSTER),
    _Name(_CHART, "values.settings.interruptionQueue", "aws:sqs/queue:Queue", "name"),
    _Name(_CHART, "values.clusterName", *_CLUSTER),
)
_CLASSES = (
    "values.grafana.persistence.storageClassName",
    "values.prometheus.prometheusSpec.storageSpec.volumeClaimTemplate.spec.storageClassName",
    "values.alertmanager.alertmanagerSpec.storage.volumeClaimTemplate.spec.storageClassName",
    "values.hub.db.pvc.storageClassName",
    "values.singleuser.storage.dynamic.storageClass",
    "spec.storageClassName",
    "spec.volumeClaimTemplates.spec.storageClassName",
)
"""Where volumes are asked for: of charts, claims and sets of pods."""


@dataclass(frozen=True)
class _Object:
    """Where an object of the cluster names another.

    Attributes:
        at: Path to the name.
        target: Kind that is named; where it is empty, `kind` beside the name says it.
        within: Whether it is in the same namespace.
    """

    kind: str
    at: str
    target: str = ""
    within: bool = True


_OBJECTS = (
    _Object("NodePool", "spec.template.spec.nodeClassRef.name", "EC2NodeClass", within=False),
    _Object("Gateway", "spec.gatewayClassName", "GatewayClass", within=False),
    _Object("Gateway", "spec.infrastructure.parametersRef.name", "EnvoyProxy"),
    _Object("HTTPRoute", "spec.parentRefs.name", "Gateway"),
    _Object("BackendTrafficPolicy", "spec.targetRefs.name"),
    _Object("ClientTrafficPolicy", "spec.targetRefs.name"),
    _Object("SecurityPolicy", "spec.targetRefs.name"),
    _Object("ExternalSecret", "spec.secretStoreRef.name"),
    _Object("RoleBinding", "roleRef.name"),
    _Object("ValidatingAdmissionPolicyBinding", "spec.policyName", "ValidatingAdmissionPolicy", within=False),
    _Object("HorizontalPodAutoscaler", "spec.scaleTargetRef.name"),
)
_OUTSIDE = frozenset({"ClusterRole", "ClusterSecretStore", "ClusterIssuer", "GatewayClass", "EC2NodeClass"})
"""Kinds without a namespace."""


def named(objects: Objects) -> Iterator[str]:
    """Names of what is not in the stack, or could come later; addresses of AWS that were written by hand."""
    known: dict[tuple[str, str], dict[str, str]] = {}
    for entry in _NAMES:
        if (entry.target, entry.name) not in known:
            known[entry.target, entry.name] = {
                resource.inputs[entry.name]: resource.urn
                for resource in objects.named(entry.target)
                if isinstance(resource.inputs.get(entry.name), str)
            }
    for entry in _NAMES:
        targets = known[entry.target, entry.name]
        for resource in objects.named(entry.type):
            for name in _at(resource.inputs, entry.at):
                # On a site, or where someone else has it, the stack has none of these at all.
                if targets and not name.startswith("<"):
                    yield from _missing(objects, resource, entry, name, targets)
    yield from _by_hand(objects)
    yield from _classes(objects)
    for found in _OBJECTS:
        yield from _object(objects, found)


def _missing(
    objects: Objects, resource: Resource, entry: _Name, name: str, targets: Mapping[str, str]
) -> Iterator[str]:
    here = f"{resource.type} {resource.name}"
    kind = entry.target.rpartition(":")[2]
    if name not in targets:
        yield f"{here} names the {kind} {name} at {entry.at}, which is not in the stack"
    elif entry.waits and targets[name] not in objects.before(resource):
        yield f"{here} names the {kind} {name} at {entry.at}, and could come before it: pass the resource's own output"


def _by_hand(objects: Objects) -> Iterator[str]:
    for resource in objects.graph.resources:
        for place, text in _texts(resource.inputs):
            if _HAND_WRITTEN.match(text):
                yield f"{resource.type} {resource.name} has {text} at {place}, written by hand: refer to a resource"


def _classes(objects: Objects) -> Iterator[str]:
    """Volumes of a storage class that is not there, where the stack brings its classes itself."""
    classes = {name: found for (_, name), found in objects.of("StorageClass").items()}
    if not classes:
        return
    for resource in objects.graph.resources:
        if resource.type.startswith("kubernetes:"):
            for path in _CLASSES:
                for name in _at(resource.inputs, path):
                    if name not in classes:
                        told = f"{resource.type.rpartition(':')[2]} {resource.name}"
                        yield f"{told} asks for a volume of the class {name}, which is not there"


def _object(objects: Objects, entry: _Object) -> Iterator[str]:
    *way, last = entry.at.split(".")
    for (namespace, name), resource in objects.of(entry.kind).items():
        for holder in _found(resource.inputs, way):
            kind = entry.target or holder.get("kind", "")
            within = "" if kind in _OUTSIDE or not entry.within else holder.get("namespace", namespace)
            wanted = holder.get(last)
            if wanted is not None and (within, wanted) not in objects.of(kind) and kind != "ClusterRole":
                yield f"{entry.kind} {namespace}/{name} names the {kind} {wanted}, which is not there"


def _at(inputs: Mapping[str, Any], path: str) -> list[str]:
    return [text for text in _found(inputs, path.split(".")) if isinstance(text, str)]


def _found(value: Any, way: list[str]) -> list[Any]:
    """What is at a path; each item of a list on the way, and at its end, counts."""
    if isinstance(value, list):
        return [found for item in value for found in _found(item, way)]
    if not way:
        return [value]
    return _found(value[way[0]], way[1:]) if isinstance(value, Mapping) and way[0] in value else []


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, place)

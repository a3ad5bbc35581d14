"""A service of AWS must be let in where it works for us: to the key, bucket, topic, queue or role that we give it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.checks.objects import Objects, statements
from infra.plan import Resource

_AGENT = "eks-pod-identity-agent"
_PODS = "pods.eks.amazonaws.com"
_INLINE = 10_240
"""Characters, without white space, of all inline policies of a role (IAM quotas)."""


@dataclass(frozen=True)
class _Use:
    """A type that hands something to a service.

    Attributes:
        given: The input that refers to what it hands over.
        to: Type of that, and the input of the resource with its policy.
        service: Who has to be let in; `{region}` stands for the stack's.
    """

    type: str
    given: str
    to: tuple[str, str]
    service: str


_KEY = ("aws:kms/key:Key", "policy")
_TRUST = ("aws:iam/role:Role", "assumeRolePolicy")
_USES = (
    _Use("aws:cloudwatch/logGroup:LogGroup", "kmsKeyId", _KEY, "logs.{region}.amazonaws.com"),
    _Use("aws:cloudtrail/trail:Trail", "kmsKeyId", _KEY, "cloudtrail.amazonaws.com"),
    _Use("aws:sns/topic:Topic", "kmsMasterKeyId", _KEY, "cloudwatch.amazonaws.com"),
    _Use("aws:ec2/flowLog:FlowLog", "iamRoleArn", _TRUST, "vpc-flow-logs.amazonaws.com"),
    _Use("aws:eks/cluster:Cluster", "roleArn", _TRUST, "eks.amazonaws.com"),
    _Use("aws:eks/nodeGroup:NodeGroup", "nodeRoleArn", _TRUST, "ec2.amazonaws.com"),
    _Use("aws:backup/selection:Selection", "iamRoleArn", _TRUST, "backup.amazonaws.com"),
    _Use("aws:cfg/recorder:Recorder", "roleArn", _TRUST, "config.amazonaws.com"),
    _Use("aws:eks/podIdentityAssociation:PodIdentityAssociation", "roleArn", _TRUST, _PODS),
    _Use("aws:eks/addon:Addon", "podIdentityAssociations", _TRUST, _PODS),
)
_MANAGED: Mapping[str, tuple[str, Sequence[Sequence[str]]]] = {
    "aws:eks/cluster:Cluster": ("roleArn", (("AmazonEKSClusterPolicy",),)),
    "aws:eks/nodeGroup:NodeGroup": (
        "nodeRoleArn",
        (
            ("AmazonEKSWorkerNodePolicy", "AmazonEKSWorkerNodeMinimalPolicy"),
            ("AmazonEC2ContainerRegistryReadOnly", "AmazonEC2ContainerRegistryPullOnly"),
        ),
    ),
    "aws:backup/selection:Selection": ("iamRoleArn", (("AWSBackupServiceRolePolicyForBackup",),)),
    "aws:cfg/recorder:Recorder": ("roleArn", (("AWS_ConfigRole",),)),
}
"""Types, the input with their role, and AWS's own policies of which the role needs one of each row."""
_SCALING = "AWSServiceRoleForAutoScaling"
"""The role of AWS that starts the machines of a node group."""
_DRIVERS = ("aws-ebs-csi-driver", "vpc-cni")
"""Addons that call AWS."""


def trust(objects: Objects) -> Iterator[str]:
    """Services that are refused where they are to work, and roles that no one can take or that may do nothing."""
    for use in _USES:
        yield from _use(objects, use)
    yield from _alarms(objects)
    yield from _policies_of(objects)
    yield from _identities(objects)
    yield from _administrators(objects)
    yield from _disks(objects)
    for resource in objects.graph.resources:
        for name, value in resource.inputs.items():
            if name.lower().endswith(("policy", "policydocument", "policies")) and str(value).startswith('{"'):
                yield from _broken(resource, name, value)
    for key in objects.named("aws:kms/key:Key"):
        if key.inputs.get("policy") and not any("kms:*" in one["Action"] for one in statements(key.inputs["policy"])):
            yield f"Key {key.name} can be changed by no one: its policy gives its own account nothing"


def _broken(resource: Resource, key: str, value: str) -> Iterator[str]:
    try:
        json.loads(value)
    except ValueError as error:
        yield f"{resource.type.rpartition(':')[2]} {resource.name} has a {key} that is no JSON: {error}"


def _use(objects: Objects, use: _Use) -> Iterator[str]:
    kind, document = use.to
    regions = [one.inputs.get("region", "") for one in objects.named("pulumi:providers:aws")]
    service = use.service.format(region=regions[0] if regions else "")
    for resource in objects.named(use.type):
        for urn in resource.property_dependencies.get(use.given, ()):
            target = objects.by_urn.get(urn)
            if target is not None and target.type == kind and not _lets_in(target.inputs[document], service):
                told = f"{use.type.rpartition(':')[2]} {resource.name}"
                yield f"{told} hands {kind.rpartition(':')[2]} {target.name} to {service}, which is not let in"


def _lets_in(policy: str, service: str) -> bool:
    return any(
        one["Effect"] == "Allow"
        and isinstance(one.get("Principal"), dict)
        and service in _list(one["Principal"].get("Service", []))
        for one in statements(policy)
    )


def _alarms(objects: Objects) -> Iterator[str]:
    """What sends and writes: alarms to topics, events to queues, a trail and a recorder to buckets."""
    pairs = (
        (
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            "alarmActions",
            "aws:sns/topicPolicy:TopicPolicy",
            "arn",
            "cloudwatch",
        ),
        ("aws:cloudwatch/eventTarget:EventTarget", "arn", "aws:sqs/queuePolicy:QueuePolicy", "queueUrl", "events"),
        ("aws:cloudwatch/eventTarget:EventTarget", "arn", "aws:sns/topicPolicy:TopicPolicy", "arn", "events"),
    )
    for sender, given, policy_type, of, name in pairs:
        policies = {
            urn: policy for policy in objects.named(policy_type) for urn in policy.property_dependencies.get(of, ())
        }
        for resource in objects.named(sender):
            for urn in resource.property_dependencies.get(given, ()):
                if urn in policies and not _lets_in(policies[urn].inputs["policy"], f"{name}.amazonaws.com"):
                    told = f"{sender.rpartition(':')[2]} {resource.name}"
                    yield f"{told} sends to {policies[urn].name}, whose policy does not let {name}.amazonaws.com in"
    buckets = {one.inputs.get("bucket"): one.urn for one in objects.named("aws:s3/bucket:Bucket")}
    for kind, name in (
        ("aws:cloudtrail/trail:Trail", "cloudtrail"),
        ("aws:cfg/deliveryChannel:DeliveryChannel", "config"),
    ):
        for resource in objects.named(kind):
            for policy in objects.named("aws:s3/bucketPolicy:BucketPolicy"):
                ours = buckets.get(resource.inputs["s3BucketName"]) in policy.property_dependencies.get("bucket", ())
                if ours and not _writes(policy.inputs["policy"], f"{name}.amazonaws.com"):
                    yield f"{kind.rpartition(':')[2]} {resource.name} is refused by the bucket {policy.name}"


def _writes(policy: str, service: str) -> bool:
    return any(
        "s3:PutObject" in _list(one["Action"]) and _lets_in(json.dumps({"Statement": [one]}), service)
        for one in statements(policy)
    )


def _policies_of(objects: Objects) -> Iterator[str]:
    """AWS's own policies that a role needs for what it is for, and more policy than a role takes."""
    attached: dict[str, set[str]] = {}
    for link in objects.named("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
        for urn in link.property_dependencies.get("role", ()):
            attached.setdefault(urn, set()).add(str(link.inputs["policyArn"]).rpartition("/")[2])
    for kind, (given, rows) in _MANAGED.items():
        for resource in objects.named(kind):
            for urn in resource.property_dependencies.get(given, ()):
                for row in rows:
                    if objects.by_urn[urn].type == "aws:iam/role:Role" and not attached.get(urn, set()) & set(row):
                        told = f"{kind.rpartition(':')[2]} {resource.name}"
                        yield f"{told} needs {' or '.join(row)}, which the role {objects.by_urn[urn].name} lacks"
    lengths: dict[str, int] = {}
    for policy in objects.named("aws:iam/rolePolicy:RolePolicy"):
        for urn in policy.property_dependencies.get("role", ()):
            lengths[urn] = lengths.get(urn, 0) + len("".join(policy.inputs["policy"].split()))
    for urn, length in lengths.items():
        if length > _INLINE:
            yield f"the role {objects.by_urn[urn].name} has policies of {length} characters: IAM takes {_INLINE}"


def _identities(objects: Objects) -> Iterator[str]:
    """Roles for pods: who takes them must be there, and be whom the role trusts."""
    links = objects.named("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    addons = {one.inputs["addonName"]: one for one in objects.named("aws:eks/addon:Addon")}
    if links and _AGENT not in addons:
        yield f"pods have roles, and nothing hands them out: add the addon {_AGENT}"
    for name in _DRIVERS:
        if name in addons and not addons[name].inputs.get("podIdentityAssociations"):
            yield f"the addon {name} calls AWS, and has no role: give it podIdentityAssociations"
    namespaces = {name for _, name in objects.of("Namespace")}
    rendered = {
        objects.by_urn[urn].inputs["metadata"]["name"]
        for found in objects.graph.resources
        if found.type in ("kubernetes:helm.sh/v4:Chart", "kubernetes:kustomize/v2:Directory")
        for urn in found.dependencies
        if urn in objects.by_urn and objects.by_urn[urn].type.endswith(":Namespace")
    }
    for link in links:
        namespace, account = link.inputs["namespace"], link.inputs["serviceAccount"]
        if namespace not in namespaces:
            yield f"PodIdentityAssociation {link.name} is for the namespace {namespace}, which is not there"
        elif namespace not in rendered and (namespace, account) not in objects.of("ServiceAccount"):
            yield f"PodIdentityAssociation {link.name} is for the account {namespace}/{account}, which is not there"
        for urn in link.property_dependencies.get("roleArn", ()):
            yield from _trusted(objects, link, objects.by_urn[urn])


def _trusted(objects: Objects, link: Resource, role: Resource) -> Iterator[str]:
    clusters = {one.inputs.get("name") for one in objects.named("aws:eks/cluster:Cluster")}
    for one in statements(role.inputs["assumeRolePolicy"]):
        if _PODS not in _list(one.get("Principal", {}).get("Service", [])):
            continue
        if not {"sts:AssumeRole", "sts:TagSession"} <= set(_list(one["Action"])):
            yield f"Role {role.name} lets pods in without sts:TagSession, and EKS tags each session"
        wanted = one.get("Condition", {}).get("StringEquals", {})
        for key, value in (("namespace", "namespace"), ("service-account", "serviceAccount")):
            told = wanted.get(f"aws:RequestTag/kubernetes-{key}", link.inputs[value])
            if told != link.inputs[value]:
                yield f"Role {role.name} trusts the {key} {told}, and is handed to {link.inputs[value]}"
        for source in _list(one.get("Condition", {}).get("ArnEquals", {}).get("aws:SourceArn", [])):
            if source.rpartition("/")[2] not in clusters:
                yield f"Role {role.name} trusts the cluster {source.rpartition('/')[2]}, which is not the stack's"


def _disks(objects: Objects) -> Iterator[str]:
    """Encrypted disks: whoever makes them needs a grant on their key, and Karpenter the right to hand over the role."""
    for template in objects.named("aws:ec2/launchTemplate:LaunchTemplate"):
        for urn in template.property_dependencies.get("blockDeviceMappings", ()):
            key = objects.by_urn[urn]
            grants = [one for one in statements(key.inputs["policy"]) if "kms:CreateGrant" in one["Action"]]
            if not any(f'{_SCALING}"' in json.dumps(one["Principal"]) for one in grants):
                yield f"LaunchTemplate {template.name} has disks on Key {key.name}, which {_SCALING} may not use"
    said: dict[str, list[str]] = {}
    for policy in objects.named("aws:iam/rolePolicy:RolePolicy"):
        for urn in policy.property_dependencies.get("role", ()):
            said.setdefault(urn, []).append(policy.inputs["policy"])
    drivers = [one for one in objects.named("aws:eks/addon:Addon") if one.inputs["addonName"] == _DRIVERS[0]]
    roles = [urn for one in drivers for urn in one.property_dependencies.get("podIdentityAssociations", ())]
    for volumes in objects.of("StorageClass").values():
        used = (volumes.inputs.get("parameters") or {}).get("kmsKeyId")
        granted = [text for urn in roles for text in said.get(urn, []) if "kms:CreateGrant" in text]
        if drivers and used is not None and not any(used in text for text in granted):
            yield f"StorageClass {volumes.name} has a key that {_DRIVERS[0]} may not use"
    for role in objects.named("aws:iam/role:Role"):
        if role.name == "karpenter-karpenter" and not any("iam:PassRole" in text for text in said.get(role.urn, [])):
            yield f"Role {role.name} may not hand the machines' role over: it needs iam:PassRole"


def _administrators(objects: Objects) -> Iterator[str]:
    policies = [
        str(one.inputs["policyArn"]) for one in objects.named("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    ]
    if objects.named("aws:eks/cluster:Cluster") and not any(one.endswith("ClusterAdminPolicy") for one in policies):
        yield "no one may administer the cluster: see substrate.cluster.access"


def _list(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else value

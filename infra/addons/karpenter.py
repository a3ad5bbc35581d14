"""Karpenter: nodes of each pool as pods need them, and gone when no pod does.

It runs on the managed system group, the only nodes that it does not make. It asks nothing of IAM or of the
price list: both answer outside the country alone, so that it takes a ready instance profile and the prices of its
own release, by which it only compares types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from infra.addons.chart import Values, install, requests
from infra.config.nodes import GPU_RESOURCE, LABEL, NodePool, Role
from infra.config.offerings import ZoneId, offering
from infra.substrates.cluster import Cluster, IdentitySpec, NamespaceSpec, Permission

NAMESPACE = NamespaceSpec(name="karpenter", callers=("monitoring",))
ACCOUNT = "karpenter"
SYSTEM = "system"
"""The pool label of the managed group."""
_GROUP = "karpenter.k8s.aws"
_PATIENT: frozenset[Role] = frozenset({"pipelines", "training", "notebooks"})
"""Whose pods lose work when they are moved: their nodes are given back only once they are empty."""
_LAUNCHED = ("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
_DESCRIBED = (
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribePlacementGroups",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
)


@dataclass(frozen=True, kw_only=True)
class KarpenterArgs:
    """What Karpenter works with.

    Attributes:
        cluster: Name of the cluster; in the tags by which its machines are told from those of others.
        account: Id of the account.
        endpoint: Of the cluster's API.
        node_role: ARN of the role of the nodes.
        instance_profile: Name of the profile with that role.
        security_group: Of the cluster; every node has it.
        queue: Name of the queue of interruptions.
        queue_arn: Its ARN.
        queue_key: ARN of the key that encrypts it.
        disk_key: ARN of the key of the nodes' disks.
        pools: By name.
        zones: Of each pool.
        tags: Of each machine, its disk and its interface.
        system_nodes: That always run; with two or more, so do two of it.
    """

    cluster: str
    account: str
    region: str
    endpoint: pulumi.Input[str]
    node_role: pulumi.Input[str]
    instance_profile: pulumi.Input[str]
    security_group: pulumi.Input[str]
    queue: pulumi.Input[str]
    queue_arn: pulumi.Input[str]
    queue_key: pulumi.Input[str]
    disk_key: pulumi.Input[str]
    pools: Mapping[str, NodePool]
    zones: Mapping[str, Sequence[ZoneId]]
    tags: Mapping[str, str]
    system_nodes: int


def values(args: KarpenterArgs, registry: str) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for public.ecr.aws.
    """
    return {
        "replicas": min(args.system_nodes, 2),
        "serviceAccount": {"name": ACCOUNT},
        "nodeSelector": {LABEL: SYSTEM},
        "controller": {
            "image": {"repository": f"{registry}/karpenter/controller"},
            # Pods cannot ask the machine where it stands.
            "env": [{"name": "AWS_REGION", "value": args.region}],
            "resources": requests("200m", "1Gi"),
        },
        "settings": {
            "clusterName": args.cluster,
            "clusterEndpoint": args.endpoint,
            "eksControlPlane": True,
            "isolatedVPC": True,
            "interruptionQueue": args.queue,
        },
    }


def rights(args: KarpenterArgs) -> list[Permission]:
    """The rights of upstream's own policy at this version, of what it calls without price list and IAM.

    https://karpenter.sh/docs/reference/cloudformation/
    """
    ec2 = f"arn:aws:ec2:{args.region}:{args.account}"
    owned = f"kubernetes.io/cluster/{args.cluster}"
    found = {f"aws:ResourceTag/{owned}": ["owned"]}
    asked = {f"aws:RequestTag/{owned}": ["owned"], "aws:RequestTag/eks:eks-cluster-name": [args.cluster]}
    launch = ("ec2:CreateFleet", "ec2:RunInstances")
    launched = [f"{ec2}:{kind}/*" for kind in _LAUNCHED]
    given = ("security-group", "subnet", "capacity-reservation", "placement-group")
    public = [f"arn:aws:ec2:{args.region}::{kind}/*" for kind in ("image", "snapshot")]
    through_ec2 = {"StringEquals": {"kms:ViaService": [f"ec2.{args.region}.amazonaws.com"]}}
    return [
        Permission(actions=launch, resources=[*public, *(f"{ec2}:{kind}/*" for kind in given)]),
        Permission(
            actions=launch,
            resources=[f"{ec2}:launch-template/*"],
            condition={"StringEquals": found, "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": ["*"]}},
        ),
        Permission(
            actions=[*launch, "ec2:CreateLaunchTemplate"],
            resources=launched,
            condition={"StringEquals": asked, "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": ["*"]}},
        ),
        Permission(
            actions=["ec2:CreateTags"],
            resources=launched,
            condition={
                "StringEquals": {
                    **asked,
                    "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
                },
                "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": ["*"]},
            },
        ),
        Permission(
            actions=["ec2:CreateTags"],
            resources=[f"{ec2}:instance/*"],
            condition={
                "StringEquals": found,
                "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": ["*"]},
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": [args.cluster]},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                },
            },
        ),
        Permission(
            actions=["ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"],
            resources=[f"{ec2}:{kind}/*" for kind in ("instance", "launch-template")],
            condition={"StringEquals": found, "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": ["*"]}},
        ),
        Permission(
            actions=["iam:PassRole"],
            resources=[args.node_role],
            condition={"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com"]}},
        ),
        Permission(
            actions=["eks:DescribeCluster"],
            resources=[f"arn:aws:eks:{args.region}:{args.account}:cluster/{args.cluster}"],
        ),
        Permission(actions=["ssm:GetParameter"], resources=[f"arn:aws:ssm:{args.region}::parameter/aws/service/*"]),
        Permission(actions=["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"], resources=[args.queue_arn]),
        Permission(actions=["kms:Decrypt"], resources=[args.queue_key]),
        # Whoever launches a machine hands its disk's key to it.
        Permission(
            actions=["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"],
            resources=[args.disk_key],
            condition=through_ec2,
        ),
        Permission(
            actions=["kms:CreateGrant"],
            resources=[args.disk_key],
            condition={**through_ec2, "Bool": {"kms:GrantIsForAWSResource": ["true"]}},
        ),
        Permission(actions=list(_DESCRIBED), resources=["*"]),
    ]


def node_class(pool: NodePool, args: KarpenterArgs) -> Values:
    """Specification of a pool's EC2NodeClass: what each machine of it is like."""
    disk = {
        "volumeType": "gp3",
        "volumeSize": f"{pool.disk_gib}Gi",
        "encrypted": True,
        "kmsKeyID": args.disk_key,
        "deleteOnTermination": True,
    }
    return {
        # The alias also stands for the image with NVIDIA's driver, on types with a GPU.
        "amiSelectorTerms": [{"alias": f"al2023@{pins().versions.node_image}"}],
        "instanceProfile": args.instance_profile,
        "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": args.cluster}}],
        "securityGroupSelectorTerms": [{"id": args.security_group}],
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": disk}],
        "metadataOptions": {"httpEndpoint": "enabled", "httpTokens": "required", "httpPutResponseHopLimit": 1},
        "associatePublicIPAddress": False,
        "detailedMonitoring": True,
        # The network plugin gives out blocks of addresses, which Karpenter does not count by itself.
        "kubelet": {"maxPods": min(offering(name).pods for name in pool.instance_types)},
        "tags": {**args.tags, "Name": f"{args.cluster}-nodes"},
    }


def node_pool(name: str, pool: NodePool, zones: Sequence[ZoneId]) -> Values:
    """Specification of the NodePool called `name`."""
    gpu = {"nvidia.com/gpu.present": "true"} if pool.gpu else {}
    limits = {"cpu": str(pool.limits.cpu), "memory": f"{pool.limits.memory_gib}Gi"}
    wanted = {
        "node.kubernetes.io/instance-type": sorted(pool.instance_types),
        "topology.k8s.aws/zone-id": sorted(zones),
        "karpenter.sh/capacity-type": sorted(pool.capacity),
        "kubernetes.io/arch": [pool.arch],
        "kubernetes.io/os": ["linux"],
    }
    return {
        "template": {
            "metadata": {"labels": {**pool.labels, **gpu, LABEL: name}},
            "spec": {
                "nodeClassRef": {"group": _GROUP, "kind": "EC2NodeClass", "name": name},
                "requirements": [{"key": key, "operator": "In", "values": found} for key, found in wanted.items()],
                "taints": [
                    {"key": taint.key, "value": taint.value, "effect": "NoSchedule"} for taint in pool.taints(name)
                ],
                "expireAfter": f"{pool.expire_after_hours}h",
                # A pod that never lets go cannot keep an old machine, or a destroy from its end.
                "terminationGracePeriod": "24h" if _PATIENT & set(pool.roles) else "1h",
            },
        },
        "limits": limits | ({GPU_RESOURCE: str(pool.limits.gpus)} if pool.gpu else {}),
        "disruption": {
            "consolidationPolicy": "WhenEmpty" if _PATIENT & set(pool.roles) else "WhenEmptyOrUnderutilized",
            "consolidateAfter": pool.consolidate_after,
        },
    }


class Karpenter(pulumi.ComponentResource):
    """The controller and the pools. `ready` are the pools: whatever needs a node depends on them.

    A destroy takes them after all that runs on them; each waits until its machines are gone.
    """

    ready: Sequence[pulumi.Resource]

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        args: KarpenterArgs,
        after: Sequence[pulumi.Resource] = (),
        opts: ResourceOptions | None = None,
    ) -> None:
        """`after` is what its first look at the cloud needs, such as the events' way into the queue."""
        super().__init__("falaj:addons:Karpenter", name, None, opts)
        cluster.namespace(NAMESPACE)
        identity = cluster.identity(IdentitySpec(namespace=NAMESPACE.name, account=ACCOUNT, permissions=rights(args)))
        chart = values(args, cluster.registry("public.ecr.aws"))
        controller = install("karpenter", cluster, NAMESPACE, chart, parent=self, depends_on=[identity, *after])
        self._opts = ResourceOptions(parent=self, provider=cluster.provider)
        self._slow = pulumi.CustomTimeouts(delete="60m")
        found: list[pulumi.Resource] = []
        for key, pool in sorted(args.pools.items()):
            like = node_class(pool, args)
            machine = self._custom(f"{key}-class", f"{_GROUP}/v1", "EC2NodeClass", key, like, controller)
            spec = node_pool(key, pool, args.zones[key])
            found.append(self._custom(key, "karpenter.sh/v1", "NodePool", key, spec, machine))
        self.ready = found
        self.register_outputs({})

    def _custom(
        self, name: str, version: str, kind: str, key: str, spec: Values, after: pulumi.Resource
    ) -> CustomResource:
        return CustomResource(
            name,
            api_version=version,
            kind=kind,
            # Foreground: the object stays until the machines that it made are gone.
            metadata=ObjectMetaArgs(name=key, annotations={"pulumi.com/deletionPropagationPolicy": "foreground"}),
            spec=spec,
            opts=ResourceOptions.merge(self._opts, ResourceOptions(depends_on=[after], custom_timeouts=self._slow)),
        )

"""The controller that makes the gateway's network load balancer, and keeps its targets.

It only serves Services: ingresses, application load balancers, certificates and firewalls are no part of the
platform, and it has no rights on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.helm.v4 import Chart

from infra.addons.chart import Values, install, requests
from infra.addons.karpenter import SYSTEM
from infra.config.nodes import LABEL
from infra.substrates.cluster import Cluster, IdentitySpec, NamespaceSpec, Permission

NAMESPACE = NamespaceSpec(name="load-balancers", callers=("monitoring",), webhooks=(9443,))
ACCOUNT = "aws-load-balancer-controller"
_OWNER = "elbv2.k8s.aws/cluster"
"""The tag of all that it makes; its value is the cluster's name."""
_DESCRIBED = (
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVpcPeeringConnections",
    "ec2:DescribeVpcs",
    "elasticloadbalancing:DescribeCapacityReservation",
    "elasticloadbalancing:DescribeListenerAttributes",
    "elasticloadbalancing:DescribeListenerCertificates",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeSSLPolicies",
    "elasticloadbalancing:DescribeTags",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
)


@dataclass(frozen=True, kw_only=True)
class LoadBalancersArgs:
    """What the controller works with.

    Attributes:
        cluster: Name of the cluster; in the tags by which its load balancers are told from those of others.
        account: Id of the account.
        vpc: Id of the network, which pods cannot ask the machine for.
        targets: Namespaces whose pods are only ready once the load balancer sends to them.
        tags: Of each load balancer.
        system_nodes: That always run; with two or more, so do two of it.
    """

    cluster: str
    account: str
    region: str
    vpc: pulumi.Input[str]
    targets: Sequence[str]
    tags: Mapping[str, str]
    system_nodes: int


def values(args: LoadBalancersArgs, registry: str) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for public.ecr.aws.
    """
    replicas = min(args.system_nodes, 2)
    return {
        "fullnameOverride": ACCOUNT,
        "image": {"repository": f"{registry}/eks/aws-load-balancer-controller"},
        "replicaCount": replicas,
        "podDisruptionBudget": {"maxUnavailable": 1},
        "serviceAccount": {"name": ACCOUNT},
        "nodeSelector": {LABEL: SYSTEM},
        "podSecurityContext": {"fsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "securityContext": {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": requests("50m", "256Mi"),
        "clusterName": args.cluster,
        "region": args.region,
        "vpcId": args.vpc,
        "defaultTags": dict(args.tags),
        # Rendered anew, a certificate of the chart's own would change with each update.
        "enableCertManager": True,
        "defaultTargetType": "ip",
        "webhookNamespaceSelectors": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(args.targets)}
        ],
        # Services say themselves whose they are; the webhook would take each one that does not.
        "enableServiceMutatorWebhook": False,
        "webhookConfig": {"disableIngressValidation": True},
        "createIngressClassResource": False,
        "ingressClassParams": {"create": False},
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
        "controllerConfig": {"featureGates": {"ALBGatewayAPI": False, "NLBGatewayAPI": False}},
    }


def rights(args: LoadBalancersArgs) -> list[Permission]:
    """The rights of upstream's own policy at this version that network load balancers need.

    What upstream grants on everything is held to what bears the cluster's tag, or will.
    https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/docs/install/iam_policy.json
    """
    ec2 = f"arn:aws:ec2:{args.region}:{args.account}"
    elb = f"arn:aws:elasticloadbalancing:{args.region}:{args.account}"
    vpc = pulumi.Output.concat(f"{ec2}:vpc/", args.vpc)
    groups, balancers, targets = f"{ec2}:security-group/*", f"{elb}:loadbalancer/net/*", f"{elb}:targetgroup/*"
    listeners = f"{elb}:listener/net/*"
    own = {"StringEquals": {f"aws:ResourceTag/{_OWNER}": [args.cluster]}}
    asked = {"StringEquals": {f"aws:RequestTag/{_OWNER}": [args.cluster]}}
    # The owner's tag is set once, when the thing is made.
    retag = {**own, "Null": {f"aws:RequestTag/{_OWNER}": ["true"]}}
    nodes = {"StringEquals": {f"aws:ResourceTag/kubernetes.io/cluster/{args.cluster}": ["owned"]}}
    openings = ("ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress")
    made = ("CreateListener", "CreateLoadBalancer", "CreateTargetGroup")
    linked = "aws-service-role/elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing"
    return [
        Permission(
            actions=["iam:CreateServiceLinkedRole"],
            resources=[f"arn:aws:iam::{args.account}:role/{linked}"],
            condition={"StringEquals": {"iam:AWSServiceName": ["elasticloadbalancing.amazonaws.com"]}},
        ),
        Permission(actions=["ec2:CreateSecurityGroup", "ec2:GetSecurityGroupsForVpc"], resources=[vpc]),
        Permission(actions=["ec2:CreateSecurityGroup"], resources=[groups], condition=asked),
        Permission(
            actions=["ec2:CreateTags"],
            resources=[groups],
            condition={"StringEquals": {**asked["StringEquals"], "ec2:CreateAction": ["CreateSecurityGroup"]}},
        ),
        Permission(actions=["ec2:CreateTags", "ec2:DeleteTags"], resources=[groups], condition=retag),
        Permission(actions=[*openings, "ec2:DeleteSecurityGroup"], resources=[groups], condition=own),
        # The nodes' own group lets the load balancer in.
        Permission(actions=openings, resources=[groups], condition=nodes),
        Permission(
            actions=["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"],
            resources=[balancers, targets],
            condition=asked,
        ),
        Permission(
            actions=["elasticloadbalancing:AddTags"],
            resources=[balancers, targets, listeners],
            condition={
                "StringEquals": {**asked["StringEquals"], "elasticloadbalancing:CreateAction": list(made)},
            },
        ),
        Permission(
            actions=["elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"],
            resources=[balancers, targets, listeners],
            condition=retag,
        ),
        Permission(
            actions=[
                "elasticloadbalancing:CreateListener",
                "elasticloadbalancing:DeleteListener",
                "elasticloadbalancing:DeleteLoadBalancer",
                "elasticloadbalancing:DeleteTargetGroup",
                "elasticloadbalancing:DeregisterTargets",
                "elasticloadbalancing:ModifyListener",
                "elasticloadbalancing:ModifyListenerAttributes",
                "elasticloadbalancing:ModifyLoadBalancerAttributes",
                "elasticloadbalancing:ModifyTargetGroup",
                "elasticloadbalancing:ModifyTargetGroupAttributes",
                "elasticloadbalancing:RegisterTargets",
                "elasticloadbalancing:SetIpAddressType",
                "elasticloadbalancing:SetSecurityGroups",
                "elasticloadbalancing:SetSubnets",
            ],
            resources=[balancers, targets, listeners],
            condition=own,
        ),
        Permission(actions=list(_DESCRIBED), resources=["*"]),
    ]


class LoadBalancers(pulumi.ComponentResource):
    """The controller. `ready` is what each namespace with a Service of type LoadBalancer depends on."""

    ready: Chart

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        args: LoadBalancersArgs,
        certificates: Sequence[pulumi.Resource],
        opts: ResourceOptions | None = None,
    ) -> None:
        """`certificates` is cert-manager, which makes the webhook's; it must not wait for load balancers itself."""
        super().__init__("falaj:addons:LoadBalancers", name, None, opts)
        cluster.namespace(NAMESPACE)
        identity = cluster.identity(IdentitySpec(namespace=NAMESPACE.name, account=ACCOUNT, permissions=rights(args)))
        chart = values(args, cluster.registry("public.ecr.aws"))
        needs = [identity, *certificates]
        self.ready = install("aws-load-balancer-controller", cluster, NAMESPACE, chart, parent=self, depends_on=needs)
        self.register_outputs({})

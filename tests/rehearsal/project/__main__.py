"""A stack of a few resources of each provider, to be rehearsed."""

import json

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import Provider as AwsProvider
from pulumi_aws import ProviderDefaultTagsArgs, ec2, ecr, eks, iam, kms, rds, s3
from pulumi_kubernetes import Provider as KubernetesProvider
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apiextensions.v1 import CustomResourceDefinition
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler
from pulumi_kubernetes.batch.v1 import Job
from pulumi_kubernetes.core.v1 import Namespace, Secret
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_random import Provider as RandomProvider
from pulumi_random import RandomPassword

ACCOUNT = "111122223333"
settings = pulumi.Config().require_object("stack")
aws = ResourceOptions(
    provider=AwsProvider(
        "aws",
        region="me-central-1",
        allowed_account_ids=[ACCOUNT],
        default_tags=ProviderDefaultTagsArgs(tags={"owner": settings["governance"]["owner"]}),
    )
)
kept = ResourceOptions.merge(aws, ResourceOptions(protect=settings["protect"]))
vpc = ec2.Vpc("vpc", cidr_block="10.1.0.0/16", enable_dns_support=True, enable_dns_hostnames=True, opts=kept)
subnets = [
    ec2.Subnet(zone, vpc_id=vpc.id, cidr_block=f"10.1.{zone[-1]}.0/24", availability_zone_id=zone, opts=aws)
    for zone in settings["substrate"].get("zones", ("mec1-az1", "mec1-az2"))
]
key = kms.Key("key", description="of the test", deletion_window_in_days=7, enable_key_rotation=True, opts=aws)
trusted = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
role = iam.Role(
    "cluster",
    name="cluster",
    assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [trusted]}),
    opts=aws,
)
cluster = eks.Cluster(
    "cluster",
    name="small",
    role_arn=role.arn,
    vpc_config=eks.ClusterVpcConfigArgs(subnet_ids=[subnet.id for subnet in subnets]),
    opts=aws,
)
nodes = eks.NodeGroup(
    "system",
    cluster_name=cluster.name,
    node_group_name="system",
    node_role_arn=role.arn,
    subnet_ids=[subnet.id for subnet in subnets],
    instance_types=["m7i.large"],
    scaling_config=eks.NodeGroupScalingConfigArgs(min_size=1, desired_size=1, max_size=2),
    opts=aws,
)
group = ec2.SecurityGroup("database", description="of the test", vpc_id=vpc.id, opts=aws)
ec2.SecurityGroupRule(
    "database",
    type="ingress",
    protocol="tcp",
    from_port=5432,
    to_port=5432,
    security_group_id=group.id,
    source_security_group_id=cluster.vpc_config.cluster_security_group_id.apply(lambda found: found or ""),
    description="from the cluster",
    opts=aws,
)
places = rds.SubnetGroup("database", name="small", subnet_ids=[subnet.id for subnet in subnets], opts=aws)
rds.Instance(
    "database",
    identifier="small",
    engine="postgres",
    instance_class="db.t4g.micro",
    allocated_storage=20,
    username="someone",
    manage_master_user_password=True,
    db_subnet_group_name=places.name,
    vpc_security_group_ids=[group.id],
    deletion_protection=settings["protect"],
    skip_final_snapshot=True,
    opts=aws,
)
bucket = s3.Bucket("raw", bucket="falaj-small-raw", opts=aws)
s3.BucketPublicAccessBlock(
    "raw",
    bucket=bucket.id,
    block_public_acls=True,
    block_public_policy=True,
    ignore_public_acls=True,
    restrict_public_buckets=True,
    opts=aws,
)
repository = ecr.Repository("images", name="images", opts=aws)
selection = {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 3}
rules = [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]
ecr.LifecyclePolicy("images", repository=repository.name, policy=json.dumps({"rules": rules}), opts=aws)

password = RandomPassword("password", length=20, opts=ResourceOptions(provider=RandomProvider("random")))
inside = ResourceOptions(
    provider=KubernetesProvider(
        "cluster",
        kubeconfig=cluster.endpoint,
        enable_server_side_apply=True,
        opts=ResourceOptions(depends_on=[nodes]),
    )
)
namespace = Namespace("models", metadata={"name": "models"}, opts=inside)
placed = ResourceOptions.merge(inside, ResourceOptions(depends_on=[namespace]))
Secret(
    "models", metadata={"name": "models", "namespace": "models"}, string_data={"password": password.result}, opts=placed
)
NetworkPolicy(
    "default",
    metadata={"name": "default", "namespace": "models"},
    spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
    opts=placed,
)
container = {"name": "main", "image": "example.ae/main", "resources": {"requests": {"cpu": "100m"}}}
Job(
    "prepare",
    metadata={"name": "prepare", "namespace": "models"},
    spec={"template": {"spec": {"containers": [container], "restart_policy": "Never"}}},
    opts=placed,
)
served = {"app": "models"}
Deployment(
    "models",
    metadata={"name": "models", "namespace": "models"},
    spec={
        "selector": {"match_labels": served},
        "template": {"metadata": {"labels": served}, "spec": {"containers": [container]}},
    },
    opts=placed,
)
HorizontalPodAutoscaler(
    "models",
    metadata={"name": "models", "namespace": "models"},
    spec={
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": "models"},
        "min_replicas": 1,
        "max_replicas": settings["inference"]["replicas"]["maximum"],
    },
    opts=placed,
)
if pools := settings["substrate"].get("nodes"):
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = CustomResourceDefinition(
        "nodepools",
        metadata={"name": "nodepools.karpenter.sh"},
        spec={
            "group": "karpenter.sh",
            "names": {"kind": "NodePool", "plural": "nodepools"},
            "scope": "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"open_apiv3_schema": anything}}],
        },
        opts=inside,
    )
    for name, pool in pools.items():
        CustomResource(
            name,
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": name},
            spec={"limits": pool["limits"]},
            opts=ResourceOptions.merge(inside, ResourceOptions(depends_on=[definition])),
        )

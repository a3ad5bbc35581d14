"""A program with faults whose values are all known before anything exists."""

import json

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import Provider, iam, kms, rds, s3
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.provider import Provider as Cluster


class Group(pulumi.ComponentResource):
    """What all of it is parented to."""

    def __init__(self) -> None:
        super().__init__("test:index:Group", "group", None, None)


def declare() -> None:
    """Declare it."""
    group = Group()
    within = ResourceOptions(parent=group)
    aws = Provider("aws", region="eu-central-1", opts=within)
    cluster = Cluster("cluster", context="none", opts=within)
    in_aws = ResourceOptions(parent=group, provider=aws)
    in_cluster = ResourceOptions(parent=group, provider=cluster)
    bucket = s3.Bucket("data", bucket="data", force_destroy=True, opts=in_aws)
    s3.BucketVersioning(
        "data",
        bucket=bucket.id,
        versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Suspended"),
        opts=in_aws,
    )
    kms.Key("key", enable_key_rotation=False, multi_region=True, opts=in_aws)
    rds.Instance("database", instance_class="db.m6g.large", engine="postgres", publicly_accessible=True, opts=in_aws)
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.Policy("all", policy=policy, opts=in_aws)
    iam.AccessKey("key", user="someone", opts=in_aws)
    ConfigMap(
        "settings",
        metadata={"name": "settings", "namespace": "falaj"},
        data={"store.yaml": "path: gs://bucket/registry.db"},
        opts=in_cluster,
    )
    pod = {"containers": [{"name": "web", "image": "docker.io/library/nginx:latest"}], "hostNetwork": True}
    Deployment(
        "web",
        metadata={"name": "web", "namespace": "default"},
        spec={
            "selector": {"match_labels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod},
        },
        opts=in_cluster,
    )

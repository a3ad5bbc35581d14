"""What a person does by hand between two runs: the things that a refresh must find."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import boto3

from core.errors import FalajError
from rehearsal.kubernetes.api import Api
from rehearsal.servers import Servers

_REGION = "me-central-1"


def _client(service: str, servers: Servers) -> Any:
    make: Any = boto3.client
    return make(
        service,
        region_name=_REGION,
        endpoint_url=servers.aws,
        aws_access_key_id="rehearsal",
        aws_secret_access_key="rehearsal",  # noqa: S106
    )


def _open_bucket(resource: Mapping[str, Any], servers: Servers) -> None:
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    opened = dict.fromkeys(names, False)
    _client("s3", servers).put_public_access_block(
        Bucket=resource["inputs"]["bucket"], PublicAccessBlockConfiguration=opened
    )


def _keep_images(resource: Mapping[str, Any], servers: Servers) -> None:
    _client("ecr", servers).delete_lifecycle_policy(repositoryName=resource["inputs"]["repository"])


def _let_out(resource: Mapping[str, Any], servers: Servers) -> None:
    with closing(Api(servers.kubeconfig)) as api:
        api.delete(resource["inputs"])


def _scale(resource: Mapping[str, Any], servers: Servers) -> None:
    inputs = resource["inputs"]
    spec = {**inputs["spec"], "maxReplicas": inputs["spec"]["maxReplicas"] + 7}
    with closing(Api(servers.kubeconfig)) as api:
        api.apply({**inputs, "spec": spec}, force=True)


_BY_HAND: Mapping[str, Callable[[Mapping[str, Any], Servers], None]] = {
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _open_bucket,
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": _keep_images,
    "kubernetes:networking.k8s.io/v1:NetworkPolicy": _let_out,
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": _scale,
}


def tamper(resources: Sequence[Mapping[str, Any]], servers: Servers) -> list[str]:
    """Open a bucket, delete rules of images and of the network, scale by hand: one resource of each type there is.

    Returns:
        URNs of what was altered.

    Raises:
        FalajError: There is nothing to alter.
    """
    found: list[str] = []
    for kind, change in _BY_HAND.items():
        resource = next((resource for resource in resources if resource["type"] == kind), None)
        if resource is not None:
            change(resource, servers)
            found.append(resource["urn"])
    if not found:
        raise FalajError("the rehearsal found nothing to alter by hand: see rehearsal/tamper.py")
    return found

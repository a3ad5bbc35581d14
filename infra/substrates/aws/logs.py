"""Log groups of CloudWatch, encrypted and with an end."""

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import cloudwatch

from infra.substrates.aws.account import Account


def log_group(
    name: str, path: str, account: Account, key: pulumi.Input[str], parent: pulumi.Resource
) -> cloudwatch.LogGroup:
    """A group that is there before its first writer, which would make one without key and end.

    Args:
        path: Its name in CloudWatch.
        key: ARN of the key of logs.
    """
    return cloudwatch.LogGroup(
        name,
        name=path,
        kms_key_id=key,
        retention_in_days=account.log_days(),
        tags=account.tags("logs"),
        opts=ResourceOptions(parent=parent),
    )

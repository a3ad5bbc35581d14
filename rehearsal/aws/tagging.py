"""How the tags of what is there already are changed: a call of each service's own."""

from collections.abc import Mapping

from rehearsal.aws.kind import Step

_ARN = "=arn || accessEntryArn || associationArn || id"
_BY_SERVICE: Mapping[str, Step] = {
    "backup": Step(operation="TagResource", template={"ResourceArn": _ARN, "Tags": "{tagsAll}"}),
    "budgets": Step(operation="TagResource", template={"ResourceARN": _ARN, "ResourceTags": "=tagList"}),
    "ce": Step(operation="TagResource", template={"ResourceArn": _ARN, "ResourceTags": "=tagList"}),
    "cloudtrail": Step(operation="AddTags", template={"ResourceId": _ARN, "TagsList": "=tagList"}),
    "cloudwatch": Step(operation="TagResource", template={"ResourceARN": _ARN, "Tags": "=tagList"}),
    "ec2": Step(operation="CreateTags", template={"Resources": ["{id}"], "Tags": "=tagList"}),
    "ecr": Step(operation="TagResource", template={"resourceArn": _ARN, "tags": "=tagList"}),
    "eks": Step(operation="TagResource", template={"resourceArn": _ARN, "tags": "{tagsAll}"}),
    "elasticache": Step(operation="AddTagsToResource", template={"ResourceName": _ARN, "Tags": "=tagList"}),
    "events": Step(operation="TagResource", template={"ResourceARN": _ARN, "Tags": "=tagList"}),
    "guardduty": Step(operation="TagResource", template={"ResourceArn": _ARN, "Tags": "{tagsAll}"}),
    "kafka": Step(operation="TagResource", template={"ResourceArn": _ARN, "Tags": "{tagsAll}"}),
    "kms": Step(
        operation="TagResource", template={"KeyId": "{id}", "Tags": "=tagList[].{TagKey: Key, TagValue: Value}"}
    ),
    "logs": Step(operation="TagResource", template={"resourceArn": _ARN, "tags": "{tagsAll}"}),
    "opensearch": Step(operation="AddTags", template={"ARN": _ARN, "TagList": "=tagList"}),
    "rds": Step(operation="AddTagsToResource", template={"ResourceName": _ARN, "Tags": "=tagList"}),
    "s3": Step(operation="PutBucketTagging", template={"Bucket": "{id}", "Tagging": {"TagSet": "=tagList"}}),
    "secretsmanager": Step(operation="TagResource", template={"SecretId": "{id}", "Tags": "=tagList"}),
    "sns": Step(operation="TagResource", template={"ResourceArn": _ARN, "Tags": "=tagList"}),
    "sqs": Step(operation="TagQueue", template={"QueueUrl": "{id}", "Tags": "{tagsAll}"}),
}
_BY_KIND: Mapping[str, Step] = {
    "aws:iam/instanceProfile:InstanceProfile": Step(
        operation="TagInstanceProfile", template={"InstanceProfileName": "{id}", "Tags": "=tagList"}
    ),
    "aws:iam/role:Role": Step(operation="TagRole", template={"RoleName": "{id}", "Tags": "=tagList"}),
}

NOT_RETAGGED = frozenset({"aws:eks/nodeGroup:NodeGroup"})
"""What moto makes with tags, and then does not find when they change: in EKS it looks among clusters alone."""


def tagging(kind: str, service: str) -> Step:
    """The call that gives a resource of this type its tags, all of them.

    Raises:
        KeyError: The service is not in the table.
    """
    return _BY_KIND.get(kind) or _BY_SERVICE[service]

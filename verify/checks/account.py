"""The account as a whole."""

from typing import Any

from verify.account import Account
from verify.asked import Each, UnaskedError
from verify.cluster import Cluster
from verify.declared import Declared, known

_DATA_TAGS = ("data-class", "retention")


def test_credentials(each: Each, aws: Account) -> None:
    """The account that was asked is the stack's."""
    each([aws.id], lambda found: None if found in aws.ids else f"is none of {', '.join(aws.ids)}")


def test_cluster(each: Each, declared: Declared, aws: Account, cluster: Cluster) -> None:
    """The API server that was asked is that of the stack's EKS cluster."""

    def judge(name: str) -> str | None:
        if aws.emulated:
            raise UnaskedError("AWS is emulated, and the cluster stands apart from it")
        endpoint = aws("eks").describe_cluster(name=name)["cluster"]["endpoint"]
        return None if endpoint.lower() == cluster.server.lower() else f"is {endpoint}, and {cluster.server} was asked"

    each(declared.values("aws:eks/cluster:Cluster", "name"), judge)


def test_tags(each: Each, aws: Account) -> None:
    """Everything of the stack bears its owner, cost centre, purpose and environment."""

    def judge(tags: dict[str, str]) -> list[str]:
        return [
            f"{key} is {tags.get(key)} instead of {value}" for key, value in aws.tags.items() if tags.get(key) != value
        ]

    each(_tagged(aws), judge)


def test_data_tags(each: Each, declared: Declared, aws: Account) -> None:
    """Everything that holds data says of which class, and for how long it is kept."""
    wanted = {
        f"{kind}/{inputs[key]}": inputs["tags"]
        for kind, type_, key in _HOLDERS
        for inputs in declared.of(type_).values()
        if known(inputs.get(key)) and inputs.get("tags")
    }
    found = _tagged(aws)

    def judge(item: tuple[str, dict[str, str]]) -> list[str]:
        name, tags = item
        live = next((live for arn, live in found.items() if _names(arn, name)), None)
        if live is None:
            raise UnaskedError("the tagging API does not list it")
        return [
            f"{key} is {live.get(key)} instead of {tags[key]}" for key in _DATA_TAGS if live.get(key) != tags.get(key)
        ]

    each({name: (name.partition("/")[2], tags) for name, tags in wanted.items()}, judge)


def test_nothing_elsewhere(each: Each, aws: Account) -> None:
    """Nothing of the stack is in another region."""
    regions = [region["RegionName"] for region in aws("ec2").describe_regions()["Regions"]]

    def judge(region: str) -> list[str]:
        listed = aws("resourcegroupstaggingapi", region).get_paginator("get_resources")
        pages = listed.paginate(TagFilters=[{"Key": key, "Values": [value]} for key, value in aws.tags.items()])
        arns = [item["ResourceARN"] for page in pages for item in page["ResourceTagMappingList"]]
        # Global services have no region of their own, and are listed wherever one asks.
        return [f"has {arn}" for arn in arns if arn.split(":")[3] == region]

    each([region for region in regions if region != aws.region], judge)


_HOLDERS = (
    ("bucket", "aws:s3/bucket:Bucket", "bucket"),
    ("database", "aws:rds/instance:Instance", "identifier"),
    ("log group", "aws:cloudwatch/logGroup:LogGroup", "name"),
    ("secret", "aws:secretsmanager/secret:Secret", "name"),
    ("queue", "aws:sqs/queue:Queue", "name"),
    ("topic", "aws:sns/topic:Topic", "name"),
)


def _tagged(aws: Account) -> dict[str, dict[str, str]]:
    """Tags of everything that says it is the stack's, by ARN."""
    own = [{"Key": key, "Values": [aws.tags[key]]} for key in ("managed-by", "environment") if key in aws.tags]
    found: list[Any] = aws.every("resourcegroupstaggingapi", "get_resources", "ResourceTagMappingList", TagFilters=own)
    return {item["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in item["Tags"]} for item in found}


def _names(arn: str, name: str) -> bool:
    """Whether an ARN is that of a name; Secrets Manager appends six characters."""
    tail = arn.split(":", 5)[5]
    last = tail.partition(":")[2] if ":" in tail else tail
    return name in (tail, last, last.rpartition("-")[0]) or tail.endswith((f":{name}", f":{name}:*"))

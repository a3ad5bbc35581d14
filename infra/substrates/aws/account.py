"""What every part of the substrate `aws` knows of the account that it is made in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import Provider, ProviderAssumeRoleArgs, ProviderDefaultTagsArgs

from infra.config import Aws, StackConfig
from infra.config.model import DataClass

_LOG_DAYS = (365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Retentions of a year or more that CloudWatch Logs knows."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Names, tags and protection, which all parts have in common.

    Attributes:
        stack: Part of every physical name, so that several stacks fit one account.
        retention: Days by class of data.
    """

    id: str
    region: str
    stack: str
    protect: bool
    retention: Mapping[DataClass, int]

    @classmethod
    def of(cls, config: StackConfig, aws: Aws, stack: str) -> "Account":
        """The account that a stack's file names."""
        classes: tuple[DataClass, ...] = (
            "raw",
            "curated",
            "features",
            "artifacts",
            "inference-log",
            "audit",
            "logs",
            "platform",
        )
        retention = {data_class: config.retention(data_class) for data_class in classes}
        return cls(id=aws.account_id, region=aws.region, stack=stack, protect=config.protect, retention=retention)

    @property
    def prefix(self) -> str:
        """Begins the names of what is unique in the account."""
        return f"falaj-{self.stack}"

    @property
    def root(self) -> str:
        """ARN that delegates a decision to the account's own policies."""
        return f"arn:aws:iam::{self.id}:root"

    def arn(self, service: str, resource: str) -> str:
        """ARN of something in this account and region."""
        return f"arn:aws:{service}:{self.region}:{self.id}:{resource}"

    def tags(self, data_class: DataClass, **others: str) -> dict[str, str]:
        """Tags of what holds data of a class; the provider adds the stack's."""
        return {"data-class": data_class, "retention": f"{self.retention[data_class]}d", **others}

    @property
    def cluster(self) -> str:
        """ARN of the stack's cluster."""
        return self.arn("eks", f"cluster/{self.prefix}")

    @property
    def trail(self) -> str:
        """ARN of the stack's trail."""
        return self.arn("cloudtrail", f"trail/{self.prefix}")

    def log_days(self) -> int:
        """The longest retention of logs that CloudWatch knows and the stack allows."""
        return max(days for days in _LOG_DAYS if days <= max(self.retention["logs"], _LOG_DAYS[0]))

    def kept(self, parent: pulumi.Resource) -> ResourceOptions:
        """Options of what holds data."""
        return ResourceOptions(parent=parent, protect=self.protect)


def provider(config: StackConfig, aws: Aws, parent: pulumi.Resource) -> Provider:
    """The one provider: this account and region alone, and the stack's tags on everything."""
    role = [ProviderAssumeRoleArgs(role_arn=aws.deploy_role, session_name="falaj")] if aws.deploy_role else None
    return Provider(
        "aws",
        region=aws.region,
        allowed_account_ids=[aws.account_id],
        assume_roles=role,
        default_tags=ProviderDefaultTagsArgs(tags=config.tags()),
        opts=ResourceOptions(parent=parent),
    )


def policy(statements: Sequence[Mapping[str, Any]]) -> pulumi.Output[str]:
    """A policy document as text; ARNs in it may be outputs."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(service: str, account: Account, source: str | None = None) -> str:
    """Who may take a role: one service, for this account's resources alone.

    Args:
        service: Such as `backup.amazonaws.com`.
        source: Pattern of the ARN of the resource for which the service acts.
    """
    condition: dict[str, dict[str, str]] = {"StringEquals": {"aws:SourceAccount": account.id}}
    if source is not None:
        condition["ArnLike"] = {"aws:SourceArn": source}
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": condition,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def pod_trust(namespace: str, service_account: str, account: Account) -> str:
    """Who may take a role: the pods of one service account of the stack's cluster, through EKS Pod Identity."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": {
                "aws:SourceAccount": account.id,
                "aws:RequestTag/kubernetes-namespace": namespace,
                "aws:RequestTag/kubernetes-service-account": service_account,
            },
            "ArnEquals": {"aws:SourceArn": account.cluster},
        },
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

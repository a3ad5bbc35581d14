"""KMS: one key a class of data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import kms

from infra.config.aws import Keys as KeysConfig
from infra.config.model import DataClass
from infra.substrates.aws.account import Account, policy

_MANAGE = (
    "kms:CancelKeyDeletion",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateKeyDescription",
)
USE = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
"""What encryption at rest needs, by reading and writing."""
_GRANTED = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
CLASSES: tuple[DataClass, ...] = (
    "raw",
    "curated",
    "features",
    "artifacts",
    "inference-log",
    "audit",
    "logs",
    "platform",
)


@dataclass(frozen=True, kw_only=True)
class KeysArgs:
    """What keys are made of."""

    account: Account
    settings: KeysConfig


class Keys(pulumi.ComponentResource):
    """A customer key of each class; none is multi-region."""

    def __init__(self, name: str, args: KeysArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Keys", name, None, opts)
        self._keys = {
            data_class: kms.Key(
                data_class,
                description=f"{args.account.prefix}: {data_class}",
                policy=policy(key_policy(data_class, args.account, args.settings.administrators)),
                enable_key_rotation=True,
                rotation_period_in_days=args.settings.rotation_days,
                deletion_window_in_days=args.settings.deletion_days,
                multi_region=False,
                tags=args.account.tags(data_class),
                opts=args.account.kept(self),
            )
            for data_class in CLASSES
        }
        for data_class, key in self._keys.items():
            kms.Alias(
                data_class,
                name=f"alias/{args.account.prefix}/{data_class}",
                target_key_id=key.key_id,
                opts=ResourceOptions(parent=self),
            )
        self.register_outputs({})

    def arn(self, data_class: DataClass) -> pulumi.Output[str]:
        """ARN of the key of a class."""
        return self._keys[data_class].arn


def key_policy(data_class: DataClass, account: Account, administrators: Sequence[str]) -> list[dict[str, Any]]:
    """Who may use a key: the account's own policies decide, and the services that encrypt by themselves.

    Within a key's policy `*` means this key.
    """
    statements: list[dict[str, Any]] = [_allow("Account", {"AWS": account.root}, ["kms:*"])]
    if administrators:
        statements.append(_allow("Administrators", {"AWS": sorted(administrators)}, _MANAGE))
    here = {"StringEquals": {"aws:SourceAccount": account.id}}
    match data_class:
        case "logs":
            groups = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": account.arn("logs", "log-group:*")}}
            service = {"Service": f"logs.{account.region}.amazonaws.com"}
            statements.append(_allow("Logs", service, _GRANTED, groups))
            senders = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com"]
            publish = ("kms:Decrypt", "kms:GenerateDataKey*")
            statements.append(_allow("Alarms", {"Service": senders}, publish, here))
            # EventBridge gives no account or source when it publishes, so a condition would lose every finding.
            statements.append(_allow("Findings", {"Service": "events.amazonaws.com"}, publish))
        case "audit":
            trail = {"ArnEquals": {"aws:SourceArn": account.trail}}
            service = {"Service": "cloudtrail.amazonaws.com"}
            statements.append(_allow("Trail", service, ("kms:DescribeKey", "kms:GenerateDataKey*"), trail))
        case "platform":
            scaling = "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
            principal = {"AWS": f"arn:aws:iam::{account.id}:role/{scaling}"}
            statements.append(_allow("NodeDisks", principal, _GRANTED))
            grants = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
            statements.append(_allow("NodeDiskGrants", principal, ("kms:CreateGrant",), grants))
        case _:
            pass
    return statements


def _allow(
    sid: str, principal: Mapping[str, Any], actions: Sequence[str], condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Principal": dict(principal), "Action": list(actions), "Resource": "*"}
    return statement if condition is None else {**statement, "Condition": dict(condition)}

"""Notice of machines that are about to be taken away, for Karpenter, which moves their pods in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import cloudwatch, sqs

from infra.substrates.aws.account import Account, policy

_EVENTS: Mapping[str, tuple[str, str]] = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
    "reservation": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}
"""The events that Karpenter reads, as its own template subscribes to them."""
_KEPT_SECONDS = 300
"""A notice is worth nothing once the machine is gone."""


@dataclass(frozen=True, kw_only=True)
class InterruptionsArgs:
    """What the queue is made of.

    Attributes:
        key: ARN of its key, which EventBridge must be allowed to use: that of the class `logs`.
    """

    account: Account
    key: pulumi.Input[str]


class Interruptions(pulumi.ComponentResource):
    """`queue` is what Karpenter reads; `ready` is there once events reach it."""

    queue: sqs.Queue
    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: InterruptionsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Interruptions", name, None, opts)
        options = ResourceOptions(parent=self)
        prefix = args.account.prefix
        self.queue = sqs.Queue(
            "interruptions",
            name=f"{prefix}-interruptions",
            message_retention_seconds=_KEPT_SECONDS,
            kms_master_key_id=args.key,
            tags=args.account.tags("logs"),
            opts=options,
        )
        arn = args.account.arn("sqs", f"{prefix}-interruptions")
        rules = args.account.arn("events", f"rule/{prefix}-interruption-*")
        allowed = sqs.QueuePolicy(
            "interruptions", queue_url=self.queue.url, policy=policy(queue_policy(arn, rules)), opts=options
        )
        ready: list[pulumi.Resource] = [allowed]
        for key, (source, kind) in _EVENTS.items():
            rule = cloudwatch.EventRule(
                f"interruption-{key}",
                name=f"{prefix}-interruption-{key}",
                event_pattern=pulumi.Output.json_dumps({"source": [source], "detail-type": [kind]}),
                opts=options,
            )
            target = cloudwatch.EventTarget(
                f"interruption-{key}", rule=rule.name, target_id="queue", arn=self.queue.arn, opts=options
            )
            ready.append(target)
        self.ready = ready
        self.register_outputs({"queue": self.queue.name})


def queue_policy(arn: str, rules: str) -> list[dict[str, Any]]:
    """The stack's own rules may send, and no one without TLS."""
    return [
        {
            "Sid": "Events",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnLike": {"aws:SourceArn": rules}},
        },
        {
            "Sid": "Encrypted",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]

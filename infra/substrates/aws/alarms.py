"""A topic that ends at people, and the findings, costs and alarms that go there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import budgets, cloudwatch, costexplorer, sns

from infra.config.governance import Budget, Contacts
from infra.substrates.aws.account import Account, policy

_SENDERS = ("budgets", "cloudwatch", "costalerts")
_SEVERE = 7
"""GuardDuty's lowest severity of the level high."""


Statistic = Literal["Average", "Maximum", "Minimum", "Sum"]


@dataclass(frozen=True)
class Alarm:
    """A bound on a metric of the cloud, over five minutes.

    Attributes:
        above: Whether a value above the bound is wrong, or one below.
    """

    namespace: str
    dimensions: Mapping[str, pulumi.Input[str]]
    metric: str
    bound: float
    description: str
    statistic: Statistic = "Average"
    above: bool = True


@dataclass(frozen=True, kw_only=True)
class AlarmsArgs:
    """What alarms are made of.

    Attributes:
        key: ARN of the key of the topics.
        alarms: By name.
    """

    account: Account
    contacts: Contacts
    budget: Budget | None
    key: pulumi.Input[str]
    alarms: Mapping[str, Alarm]


class Alarms(pulumi.ComponentResource):
    """`operations` and `security` are the topics; each has a person's address."""

    def __init__(self, name: str, args: AlarmsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Alarms", name, None, opts)
        self._args = args
        self._opts = ResourceOptions(parent=self)
        self.operations = self._topic("operations", args.contacts.operations)
        self.security = self._topic("security", args.contacts.security)
        self._findings()
        for key, alarm in args.alarms.items():
            self._alarm(key, alarm)
        if args.budget is not None:
            self._costs(args.budget, args.contacts.finance or args.contacts.operations)
        self.register_outputs({"operations": self.operations.arn, "security": self.security.arn})

    def _topic(self, name: str, address: str) -> sns.Topic:
        account = self._args.account
        topic = sns.Topic(
            name,
            name=f"{account.prefix}-{name}",
            kms_master_key_id=self._args.key,
            tags=account.tags("logs"),
            opts=self._opts,
        )
        arn = account.arn("sns", f"{account.prefix}-{name}")
        sns.TopicPolicy(name, arn=topic.arn, policy=policy(topic_policy(arn, account)), opts=self._opts)
        sns.TopicSubscription(name, topic=topic.arn, protocol="email", endpoint=address, opts=self._opts)
        return topic

    def _findings(self) -> None:
        patterns: dict[str, dict[str, Any]] = {
            "guardduty": {
                "source": ["aws.guardduty"],
                "detail-type": ["GuardDuty Finding"],
                "detail": {"severity": [{"numeric": [">=", _SEVERE]}]},
            },
            "security-hub": {
                "source": ["aws.securityhub"],
                "detail-type": ["Security Hub Findings - Imported"],
                "detail": {
                    "findings": {
                        "Severity": {"Label": ["CRITICAL", "HIGH"]},
                        "Workflow": {"Status": ["NEW"]},
                        "RecordState": ["ACTIVE"],
                    }
                },
            },
        }
        for name, pattern in patterns.items():
            rule = cloudwatch.EventRule(
                name,
                name=f"{self._args.account.prefix}-{name}",
                event_pattern=pulumi.Output.json_dumps(pattern),
                opts=self._opts,
            )
            cloudwatch.EventTarget(name, rule=rule.name, target_id="topic", arn=self.security.arn, opts=self._opts)

    def _alarm(self, name: str, alarm: Alarm) -> None:
        cloudwatch.MetricAlarm(
            name,
            name=f"{self._args.account.prefix}-{name}",
            alarm_description=alarm.description,
            namespace=alarm.namespace,
            metric_name=alarm.metric,
            dimensions=alarm.dimensions,
            statistic=alarm.statistic,
            period=300,
            evaluation_periods=3,
            threshold=alarm.bound,
            comparison_operator="GreaterThanThreshold" if alarm.above else "LessThanThreshold",
            treat_missing_data="missing",
            alarm_actions=[self.operations.arn],
            ok_actions=[self.operations.arn],
            opts=self._opts,
        )

    def _costs(self, budget: Budget, finance: str) -> None:
        prefix = self._args.account.prefix
        budgets.Budget(
            "monthly",
            name=prefix,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{budget.monthly_usd:.2f}",
            limit_unit="USD",
            notifications=[
                budgets.BudgetNotificationArgs(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_email_addresses=[finance],
                    subscriber_sns_topic_arns=[self.operations.arn],
                )
                for percent in sorted(budget.alert_percent)
                for kind in ("ACTUAL", "FORECASTED")
            ],
            opts=self._opts,
        )
        monitor = costexplorer.AnomalyMonitor(
            "services", name=prefix, monitor_type="DIMENSIONAL", monitor_dimension="SERVICE", opts=self._opts
        )
        threshold = costexplorer.AnomalySubscriptionThresholdExpressionDimensionArgs(
            key="ANOMALY_TOTAL_IMPACT_ABSOLUTE",
            match_options=["GREATER_THAN_OR_EQUAL"],
            values=[f"{budget.anomaly_usd:g}"],
        )
        costexplorer.AnomalySubscription(
            "services",
            name=prefix,
            frequency="IMMEDIATE",
            monitor_arn_lists=[monitor.arn],
            subscribers=[costexplorer.AnomalySubscriptionSubscriberArgs(type="SNS", address=self.operations.arn)],
            threshold_expression=costexplorer.AnomalySubscriptionThresholdExpressionArgs(dimension=threshold),
            opts=self._opts,
        )


def topic_policy(arn: str, account: Account) -> list[dict[str, Any]]:
    """Services of this account may publish, and no one without TLS."""
    return [
        {
            "Sid": "Services",
            "Effect": "Allow",
            "Principal": {"Service": [f"{sender}.amazonaws.com" for sender in _SENDERS]},
            "Action": "sns:Publish",
            "Resource": arn,
            "Condition": {"StringEquals": {"aws:SourceAccount": account.id}},
        },
        {
            # EventBridge gives no account or source when it publishes, so a condition would lose every finding.
            "Sid": "Findings",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": arn,
        },
        {
            "Sid": "Encrypted",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sns:Publish",
            "Resource": arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]

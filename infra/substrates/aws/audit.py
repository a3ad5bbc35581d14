"""The account's watchmen: trail, recorder, threat detection and findings."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import cfg, cloudtrail, guardduty, iam, inspector2, securityhub

from infra.config.aws import Security
from infra.config.model import DataClass
from infra.substrates.aws.account import Account, policy, trust
from infra.substrates.aws.buckets import bucket_arn, bucket_name

_FEATURES = ("S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "EBS_MALWARE_PROTECTION", "RDS_LOGIN_EVENTS")
_AGENTS = ("EKS_ADDON_MANAGEMENT", "EC2_AGENT_MANAGEMENT")
_STANDARDS = (
    "standards/aws-foundational-security-best-practices/v/1.0.0",
    "standards/cis-aws-foundations-benchmark/v/3.0.0",
)
_PERSONAL: tuple[DataClass, ...] = ("raw", "curated", "features", "inference-log")


@dataclass(frozen=True, kw_only=True)
class AuditArgs:
    """What the watchmen are made of.

    Attributes:
        audit_key: ARN of the key of the bucket `audit`, where the trail goes.
        logs_key: ARN of the key of the bucket `logs`, where the recorder writes: it takes none with a lock.
        ready: What lets the services write to these buckets.
    """

    account: Account
    settings: Security
    audit_key: pulumi.Input[str]
    logs_key: pulumi.Input[str]
    ready: Sequence[pulumi.Resource]


class Audit(pulumi.ComponentResource):
    """Each part unless the organisation runs it for all its accounts."""

    def __init__(self, name: str, args: AuditArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Audit", name, None, opts)
        self._args = args
        self._opts = ResourceOptions(parent=self)
        settings = args.settings
        if settings.trail:
            self._trail()
        recorder = self._recorder() if settings.config_recorder else None
        if settings.guardduty:
            self._guardduty()
        if settings.security_hub:
            self._security_hub([recorder] if recorder else [])
        if settings.inspector:
            inspector2.Enabler(
                "inspector", account_ids=[args.account.id], resource_types=["EC2", "ECR"], opts=self._opts
            )
        self.register_outputs({})

    def _trail(self) -> None:
        account = self._args.account
        management = [
            cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs(field="eventCategory", equals=["Management"])
        ]
        selectors = [cloudtrail.TrailAdvancedEventSelectorArgs(name="Management", field_selectors=management)]
        if self._args.settings.trail_data_events:
            buckets = [f"{bucket_arn(account, data_class)}/" for data_class in _PERSONAL]
            objects = [
                cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs(field="eventCategory", equals=["Data"]),
                cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs(
                    field="resources.type", equals=["AWS::S3::Object"]
                ),
                cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs(field="resources.ARN", starts_withs=buckets),
            ]
            selectors.append(cloudtrail.TrailAdvancedEventSelectorArgs(name="Objects", field_selectors=objects))
        cloudtrail.Trail(
            "trail",
            name=account.prefix,
            s3_bucket_name=bucket_name(account, "audit"),
            s3_key_prefix="trail",
            kms_key_id=self._args.audit_key,
            enable_log_file_validation=True,
            include_global_service_events=True,
            is_multi_region_trail=True,
            advanced_event_selectors=selectors,
            tags=account.tags("audit"),
            opts=ResourceOptions.merge(account.kept(self), ResourceOptions(depends_on=list(self._args.ready))),
        )

    def _recorder(self) -> pulumi.Resource:
        account = self._args.account
        bucket = bucket_arn(account, "logs")
        role = iam.Role(
            "config",
            name=f"{account.prefix}-config",
            assume_role_policy=trust("config.amazonaws.com", account),
            opts=self._opts,
        )
        reads = iam.RolePolicyAttachment(
            "config",
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/service-role/AWS_ConfigRole",
            opts=self._opts,
        )
        writes = iam.RolePolicy(
            "config",
            name="config",
            role=role.name,
            policy=policy(
                [
                    {
                        "Effect": "Allow",
                        "Action": ["s3:PutObject"],
                        "Resource": [f"{bucket}/config/AWSLogs/{account.id}/*"],
                        "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
                    },
                    {"Effect": "Allow", "Action": ["s3:GetBucketAcl", "s3:ListBucket"], "Resource": [bucket]},
                    {
                        "Effect": "Allow",
                        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                        "Resource": [self._args.logs_key],
                    },
                ]
            ),
            opts=self._opts,
        )
        recorder = cfg.Recorder(
            "config",
            name=account.prefix,
            role_arn=role.arn,
            recording_group=cfg.RecorderRecordingGroupArgs(all_supported=True, include_global_resource_types=True),
            opts=self._opts,
        )
        channel = cfg.DeliveryChannel(
            "config",
            name=account.prefix,
            s3_bucket_name=bucket_name(account, "logs"),
            s3_key_prefix="config",
            s3_kms_key_arn=self._args.logs_key,
            opts=ResourceOptions(parent=self, depends_on=[recorder, reads, writes, *self._args.ready]),
        )
        return cfg.RecorderStatus(
            "config",
            name=recorder.name,
            is_enabled=True,
            opts=ResourceOptions(parent=self, depends_on=[channel]),
        )

    def _guardduty(self) -> None:
        detector = guardduty.Detector(
            "guardduty",
            enable=True,
            finding_publishing_frequency="FIFTEEN_MINUTES",
            tags=self._args.account.tags("audit"),
            opts=self._opts,
        )
        for feature in _FEATURES:
            guardduty.DetectorFeature(feature, detector_id=detector.id, name=feature, status="ENABLED", opts=self._opts)
        if self._args.settings.guardduty_runtime:
            agents = [
                guardduty.DetectorFeatureAdditionalConfigurationArgs(name=agent, status="ENABLED") for agent in _AGENTS
            ]
            guardduty.DetectorFeature(
                "RUNTIME_MONITORING",
                detector_id=detector.id,
                name="RUNTIME_MONITORING",
                status="ENABLED",
                additional_configurations=agents,
                opts=self._opts,
            )

    def _security_hub(self, depends_on: Sequence[pulumi.Resource]) -> None:
        hub = securityhub.Account(
            "security-hub",
            enable_default_standards=False,
            auto_enable_controls=True,
            opts=ResourceOptions(parent=self, depends_on=list(depends_on)),
        )
        for standard in _STANDARDS:
            securityhub.StandardsSubscription(
                standard.split("/")[1],
                standards_arn=f"arn:aws:securityhub:{self._args.account.region}::{standard}",
                opts=ResourceOptions(parent=self, depends_on=[hub]),
            )

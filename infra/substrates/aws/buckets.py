"""S3: one bucket a class of data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import s3

from infra.config.aws import Buckets as BucketsConfig
from infra.config.model import DataClass
from infra.substrates.aws.account import Account, policy

CLASSES: tuple[DataClass, ...] = ("raw", "curated", "features", "artifacts", "inference-log", "audit", "logs")
_MOVED: tuple[DataClass, ...] = ("raw", "artifacts")
_MULTIPART_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class BucketsArgs:
    """What buckets are made of.

    Attributes:
        keys: ARN of the key of each class.
    """

    account: Account
    settings: BucketsConfig
    keys: Mapping[DataClass, pulumi.Input[str]]


class Buckets(pulumi.ComponentResource):
    """A bucket of each class: its own key, versions, no public access, TLS alone, an end for everything."""

    def __init__(self, name: str, args: BucketsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Buckets", name, None, opts)
        self._args = args
        self._opts = ResourceOptions(parent=self)
        self._policies = {data_class: self._bucket(data_class) for data_class in CLASSES}
        self.register_outputs({})

    def ready(self, data_class: DataClass) -> pulumi.Resource:
        """What a first write to the bucket of a class depends on."""
        return self._policies[data_class]

    def _bucket(self, data_class: DataClass) -> pulumi.Resource:
        account, settings = self._args.account, self._args.settings
        audit = data_class == "audit"
        bucket = s3.Bucket(
            data_class,
            bucket=bucket_name(account, data_class),
            object_lock_enabled=audit,
            force_destroy=False,
            tags=account.tags(data_class),
            opts=account.kept(self),
        )
        s3.BucketOwnershipControls(
            data_class,
            bucket=bucket.id,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=self._opts,
        )
        closed = s3.BucketPublicAccessBlock(
            data_class,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._opts,
        )
        versioned = s3.BucketVersioning(
            data_class,
            bucket=bucket.id,
            versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self._opts,
        )
        default = s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="aws:kms", kms_master_key_id=self._args.keys[data_class]
        )
        s3.BucketServerSideEncryptionConfiguration(
            data_class,
            bucket=bucket.id,
            rules=[
                s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=default, bucket_key_enabled=True
                )
            ],
            opts=self._opts,
        )
        s3.BucketLifecycleConfiguration(
            data_class,
            bucket=bucket.id,
            rules=[_lifecycle(data_class, account, settings)],
            opts=ResourceOptions(parent=self, depends_on=[versioned]),
        )
        if audit:
            retention = s3.BucketObjectLockConfigurationRuleDefaultRetentionArgs(
                mode=settings.audit_lock, days=lifetime(account.retention["audit"], settings.noncurrent_days)[0]
            )
            s3.BucketObjectLockConfiguration(
                data_class,
                bucket=bucket.id,
                rule=s3.BucketObjectLockConfigurationRuleArgs(default_retention=retention),
                opts=ResourceOptions(parent=self, depends_on=[versioned]),
            )
        return s3.BucketPolicy(
            data_class,
            bucket=bucket.id,
            policy=policy(bucket_policy(data_class, account)),
            opts=ResourceOptions(parent=self, depends_on=[closed]),
        )


def bucket_name(account: Account, data_class: DataClass) -> str:
    """Unique in the world by the account's id."""
    return f"{account.prefix}-{account.id}-{data_class}"


def bucket_arn(account: Account, data_class: DataClass) -> str:
    """ARN of the bucket of a class."""
    return f"arn:aws:s3:::{bucket_name(account, data_class)}"


def lifetime(retention: int, noncurrent: int) -> tuple[int, int]:
    """Days until an object expires, and until its last version is gone after that; together not above `retention`."""
    after = min(noncurrent, max(1, retention // 2))
    return max(1, retention - after), after


def bucket_policy(data_class: DataClass, account: Account) -> list[dict[str, Any]]:
    """What no one may do, and the services that write by themselves."""
    bucket = bucket_arn(account, data_class)
    denied: dict[str, dict[str, Any]] = {
        "Encrypted": {"Bool": {"aws:SecureTransport": "false"}},
        "ModernTls": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        "OwnAccount": {
            "StringNotEquals": {"aws:PrincipalAccount": account.id},
            "Bool": {"aws:PrincipalIsAWSService": "false"},
        },
    }
    statements: list[dict[str, Any]] = [
        {
            "Sid": name,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket, f"{bucket}/*"],
            "Condition": condition,
        }
        for name, condition in denied.items()
    ]
    writers: dict[str, tuple[str, str, dict[str, Any]]] = {
        "audit": ("cloudtrail", "trail", {"ArnEquals": {"aws:SourceArn": account.trail}}),
        "logs": ("config", "config", {"StringEquals": {"aws:SourceAccount": account.id}}),
    }
    if data_class not in writers:
        return statements
    service, prefix, condition = writers[data_class]
    principal = {"Service": f"{service}.amazonaws.com"}
    owned = {**condition.get("StringEquals", {}), "s3:x-amz-acl": "bucket-owner-full-control"}
    return [
        *statements,
        {
            "Sid": "ServiceLooks",
            "Effect": "Allow",
            "Principal": principal,
            "Action": ["s3:GetBucketAcl", "s3:ListBucket"],
            "Resource": bucket,
            "Condition": condition,
        },
        {
            "Sid": "ServiceWrites",
            "Effect": "Allow",
            "Principal": principal,
            "Action": "s3:PutObject",
            "Resource": f"{bucket}/{prefix}/AWSLogs/{account.id}/*",
            "Condition": {**condition, "StringEquals": owned},
        },
    ]


def _lifecycle(
    data_class: DataClass, account: Account, settings: BucketsConfig
) -> s3.BucketLifecycleConfigurationRuleArgs:
    expires, after = lifetime(account.retention[data_class], settings.noncurrent_days)
    moves = settings.infrequent_days is not None and data_class in _MOVED and expires > settings.infrequent_days
    transition = s3.BucketLifecycleConfigurationRuleTransitionArgs(
        days=settings.infrequent_days, storage_class="STANDARD_IA"
    )
    return s3.BucketLifecycleConfigurationRuleArgs(
        id="retention",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        expiration=s3.BucketLifecycleConfigurationRuleExpirationArgs(days=expires),
        noncurrent_version_expiration=s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=after
        ),
        abort_incomplete_multipart_upload=s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=_MULTIPART_DAYS
        ),
        transitions=[transition] if moves else None,
    )

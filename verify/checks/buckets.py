"""The buckets of the account."""

import json
from typing import Any

from botocore.exceptions import ClientError

from verify.account import Account
from verify.asked import Each
from verify.checks.keys import foreign
from verify.declared import Declared, Inputs, known

_BUCKET = "aws:s3/bucket:Bucket"
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def test_region(each: Each, declared: Declared, aws: Account) -> None:
    """Every bucket is there, in the stack's region."""

    def judge(name: str) -> str | None:
        region = aws("s3").get_bucket_location(Bucket=name).get("LocationConstraint")
        return None if region == aws.region else f"is in {region or 'us-east-1'}"

    each(declared.values(_BUCKET, "bucket"), judge)


def test_closed(each: Each, declared: Declared, aws: Account) -> None:
    """No bucket can be opened to the public: all four blocks are on."""

    def judge(name: str) -> list[str]:
        blocks = _unless("NoSuchPublicAccessBlockConfiguration", aws("s3").get_public_access_block, Bucket=name).get(
            "PublicAccessBlockConfiguration", {}
        )
        return [f"{block} is off" for block in _BLOCKS if not blocks.get(block)]

    each(declared.values(_BUCKET, "bucket"), judge)


def test_owner(each: Each, declared: Declared, aws: Account) -> None:
    """No bucket has access control lists: all objects are the account's."""

    def judge(name: str) -> str | None:
        rules = _unless("OwnershipControlsNotFoundError", aws("s3").get_bucket_ownership_controls, Bucket=name).get(
            "OwnershipControls", {"Rules": []}
        )["Rules"]
        found = [rule["ObjectOwnership"] for rule in rules]
        return None if found == ["BucketOwnerEnforced"] else f"its ownership is {', '.join(found) or 'not set'}"

    each(declared.values(_BUCKET, "bucket"), judge)


def test_encryption(each: Each, declared: Declared, aws: Account) -> None:
    """Every bucket is encrypted by the key of the class of its data."""

    def judge(inputs: Inputs) -> str | None:
        found = _unless(
            "ServerSideEncryptionConfigurationNotFoundError", aws("s3").get_bucket_encryption, Bucket=inputs["bucket"]
        ).get("ServerSideEncryptionConfiguration", {"Rules": []})
        rules = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in found["Rules"]]
        if [rule.get("SSEAlgorithm") for rule in rules] != ["aws:kms"]:
            return "is not encrypted by a key of the stack's own"
        key, wanted = rules[0].get("KMSMasterKeyID", ""), aws.keys.get(inputs["tags"]["data-class"], "")
        same = key.rpartition("/")[2] == wanted.rpartition("/")[2] != ""
        return None if same else f"is encrypted by {key}, and not by that of {inputs['tags']['data-class']}"

    each({name: inputs for name, inputs in declared.of(_BUCKET).items() if known(inputs["bucket"])}, judge)


def test_versions(each: Each, declared: Declared, aws: Account) -> None:
    """What is overwritten or deleted can be brought back: every bucket keeps versions."""

    def judge(name: str) -> str | None:
        status = aws("s3").get_bucket_versioning(Bucket=name).get("Status")
        return None if status == "Enabled" else f"versioning is {status or 'off'}"

    each(declared.values(_BUCKET, "bucket"), judge)


def test_tls(each: Each, declared: Declared, aws: Account) -> None:
    """Every bucket refuses what comes without TLS, and TLS older than 1.2."""

    def judge(name: str) -> list[str]:
        denied = [
            statement["Condition"]
            for statement in _policy(aws, name)["Statement"]
            if statement["Effect"] == "Deny"
            and statement.get("Principal") in ("*", {"AWS": "*"})
            and statement["Action"] in ("s3:*", ["s3:*"])
            and "Condition" in statement
        ]
        plain = any(str(found.get("Bool", {}).get("aws:SecureTransport")).lower() == "false" for found in denied)
        old = any("s3:TlsVersion" in found.get("NumericLessThan", {}) for found in denied)
        return [*([] if plain else ["takes requests without TLS"]), *([] if old else ["takes an old TLS"])]

    each(declared.values(_BUCKET, "bucket"), judge)


def test_policies(each: Each, declared: Declared, aws: Account) -> None:
    """No bucket's policy lets in everyone, or an account that is not the stack's."""
    each(declared.values(_BUCKET, "bucket"), lambda name: foreign(_policy(aws, name), aws.ids))


def test_retention(each: Each, declared: Declared, aws: Account) -> None:
    """What a bucket holds ends when the stack declares it."""
    rules = {
        name: [rule for rule in inputs["rules"] if rule.get("expiration")]
        for name, inputs in declared.of("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration").items()
    }

    def judge(item: tuple[str, list[dict[str, Any]]]) -> list[str]:
        bucket, wanted = item
        found = _unless(
            "NoSuchLifecycleConfiguration", aws("s3").get_bucket_lifecycle_configuration, Bucket=bucket
        ).get("Rules", [])
        live = {rule["ID"]: rule for rule in found if rule["Status"] == "Enabled"}
        return [
            f"rule {rule['id']} ends it after {_days(live.get(rule['id']))} days, not {rule['expiration']['days']}"
            for rule in wanted
            if known(rule["expiration"].get("days"))
            and rule["expiration"].get("days")
            and _days(live.get(rule["id"])) != rule["expiration"]["days"]
        ]

    buckets = {name: inputs["bucket"] for name, inputs in declared.of(_BUCKET).items() if known(inputs["bucket"])}
    each({name: (bucket, rules[name]) for name, bucket in buckets.items() if rules.get(name)}, judge)


def test_lock(each: Each, declared: Declared, aws: Account) -> None:
    """What must not be altered cannot be, by anyone, for as long as the stack declares."""
    locked = declared.of("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration")
    buckets = declared.of(_BUCKET)

    def judge(inputs: tuple[str, Inputs]) -> str | None:
        bucket, wanted = inputs
        found = _unless(
            "ObjectLockConfigurationNotFoundError", aws("s3").get_object_lock_configuration, Bucket=bucket
        ).get("ObjectLockConfiguration", {})
        live = found.get("Rule", {}).get("DefaultRetention", {})
        same = (live.get("Mode"), live.get("Days")) == (wanted["mode"], wanted["days"])
        return (
            None if same else f"is locked by {live or 'nothing'} instead of {wanted['mode']} for {wanted['days']} days"
        )

    each(
        {name: (buckets[name]["bucket"], inputs["rule"]["defaultRetention"]) for name, inputs in locked.items()},
        judge,
    )


def test_no_copies(each: Each, declared: Declared, aws: Account) -> None:
    """No bucket copies its objects to another."""

    def judge(name: str) -> list[str]:
        found = _unless("ReplicationConfigurationNotFoundError", aws("s3").get_bucket_replication, Bucket=name)
        rules = found.get("ReplicationConfiguration", {}).get("Rules", [])
        return [f"copies to {rule['Destination']['Bucket']}" for rule in rules]

    each(declared.values(_BUCKET, "bucket"), judge)


def test_no_website(each: Each, declared: Declared, aws: Account) -> None:
    """No bucket is a website."""

    def judge(name: str) -> str | None:
        return "is one" if _unless("NoSuchWebsiteConfiguration", aws("s3").get_bucket_website, Bucket=name) else None

    each(declared.values(_BUCKET, "bucket"), judge)


def _policy(aws: Account, bucket: str) -> dict[str, Any]:
    text = _unless("NoSuchBucketPolicy", aws("s3").get_bucket_policy, Bucket=bucket).get("Policy")
    found: dict[str, Any] = json.loads(text) if text else {"Statement": []}
    return found


def _unless(code: str, operation: Any, **request: str) -> dict[str, Any]:
    """What an operation answers; nothing where it says that there is no such configuration."""
    try:
        found: dict[str, Any] = operation(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] == code:
            return {}
        raise
    return found


def _days(rule: dict[str, Any] | None) -> int | None:
    return rule.get("Expiration", {}).get("Days") if rule else None

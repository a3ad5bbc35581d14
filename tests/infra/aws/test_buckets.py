import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi import ResourceOptions

from infra.config import StackConfig
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.buckets import CLASSES, Buckets, BucketsArgs, bucket_policy, lifetime
from tests.infra.aws.planned import STACKS, account, aws, config, of_type, plan, statements


def graph(stack: str) -> Graph:
    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        keys = {data_class: account.arn("kms", f"key/{data_class}") for data_class in CLASSES}
        Buckets("buckets", BucketsArgs(account=account, settings=aws(found).stores.buckets, keys=keys), options)

    return plan(make, config(stack), stack)


@pytest.mark.parametrize("stack", STACKS)
def test_every_bucket_is_closed_encrypted_and_versioned(stack: str) -> None:
    found = graph(stack)
    assert set(of_type(found, "s3/bucket:Bucket")) == set(CLASSES)
    for name, block in of_type(found, "s3/bucketPublicAccessBlock:BucketPublicAccessBlock").items():
        assert name in CLASSES
        for field in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
            assert block.inputs[field] is True
    encryption = of_type(found, "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
    for name, rules in encryption.items():
        default = rules.inputs["rules"][0]["applyServerSideEncryptionByDefault"]
        assert default["kmsMasterKeyId"].endswith(f"key/{name}")
    versioning = of_type(found, "s3/bucketVersioning:BucketVersioning")
    assert {item.inputs["versioningConfiguration"]["status"] for item in versioning.values()} == {"Enabled"}
    for name, bucket in of_type(found, "s3/bucketPolicy:BucketPolicy").items():
        denied = [statement for statement in statements(bucket) if statement["Effect"] == "Deny"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [statement["Condition"] for statement in denied]
        allowed = [statement for statement in statements(bucket) if statement["Effect"] == "Allow"]
        assert bool(allowed) == (name in ("audit", "logs"))


@pytest.mark.parametrize("stack", STACKS)
def test_everything_ends_within_its_retention(stack: str) -> None:
    found = config(stack)
    rules = of_type(graph(stack), "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
    assert set(rules) == set(CLASSES)
    for data_class in CLASSES:
        (rule,) = rules[data_class].inputs["rules"]
        total = rule["expiration"]["days"] + rule["noncurrentVersionExpiration"]["noncurrentDays"]
        assert total <= found.retention(data_class)
        assert rule["abortIncompleteMultipartUpload"]["daysAfterInitiation"] == 7
        assert all(move["days"] < rule["expiration"]["days"] for move in rule.get("transitions", []))


@given(st.integers(2, 36_500), st.integers(1, 36_500))
def test_versions_and_their_remains_fit_the_retention(retention: int, noncurrent: int) -> None:
    expires, after = lifetime(retention, noncurrent)
    assert expires >= 1
    assert 1 <= after <= noncurrent
    assert expires + after <= retention


def test_only_the_audit_log_is_locked() -> None:
    found = graph("prod")
    locks = of_type(found, "s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration")
    assert set(locks) == {"audit"}
    assert locks["audit"].inputs["rule"]["defaultRetention"]["mode"] == "COMPLIANCE"
    for name, bucket in of_type(found, "s3/bucket:Bucket").items():
        assert bucket.inputs["objectLockEnabled"] == (name == "audit")
        assert bucket.options.get("protect") is True


def test_services_write_the_audit_log_for_this_account_alone() -> None:
    audit = [statement for statement in bucket_policy("audit", account()) if statement["Effect"] == "Allow"]
    assert len(audit) == 2
    for statement in audit:
        assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        trail = "arn:aws:cloudtrail:me-central-1:444455556666:trail/falaj-prod"
        assert statement["Condition"]["ArnEquals"] == {"aws:SourceArn": trail}


def test_the_recorder_writes_where_nothing_is_locked() -> None:
    logs = [statement for statement in bucket_policy("logs", account()) if statement["Effect"] == "Allow"]
    assert len(logs) == 2
    for statement in logs:
        assert statement["Principal"] == {"Service": "config.amazonaws.com"}
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == "444455556666"

"""The checks of an account: each holds on what moto has as it must be, and fails where that is broken."""

import importlib
import json
from collections.abc import Callable, Iterator

import pytest
from moto import mock_aws

from core.digest import ROOT
from tests.verify import account
from tests.verify.account import ACCOUNT, BUCKET, POLICY, REGION, client
from verify.account import Account
from verify.declared import Declared
from verify.report import Report
from verify.run import PARTS, verify


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


def _look(declared: Declared, *parts: str) -> Report:
    return verify(declared, account=Account(declared, account.SESSION), parts=parts)


def _failed(report: Report) -> set[str]:
    # In this process moto raises for what it lacks, and its server answers so.
    errors = [check for check in report.checks if check.result == "error"]
    assert all(check.reason.startswith("NotImplementedError") for check in errors), errors
    return {check.id for check in report.checks if check.result == "failed"}


HOLDING = {
    "keys": account.buckets,
    "buckets": account.buckets,
    "databases": account.databases,
    "stores": account.stores,
    "control_plane": account.control_plane,
    "registry": account.registry,
    "network": account.network,
    "identity": account.identity,
    "watch": account.watch,
    "backup": account.backup,
    "cost": account.cost,
    "account": account.buckets,
}


def _policy(**statement: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [*POLICY["Statement"], statement]})


def _key() -> str:
    return str(client("kms").describe_key(KeyId="alias/test/raw")["KeyMetadata"]["KeyId"])


def _key_policy(principal: str) -> None:
    statement = {"Sid": "X", "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"}
    client("kms").put_key_policy(KeyId=_key(), PolicyName="default", Policy=json.dumps({"Statement": [statement]}))


def _trust(principal: object) -> None:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client("iam").update_assume_role_policy(RoleName="test-cluster", PolicyDocument=document)


def _open_group(cidr: str) -> None:
    client("ec2").authorize_security_group_ingress(
        GroupId=client("ec2").create_security_group(GroupName="new", Description="-", VpcId=account.vpc())["GroupId"],
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr}]}],
    )


def _way_out() -> None:
    ec2 = client("ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=account.vpc())
    tables = ec2.describe_route_tables(Filters=[{"Name": "tag:Name", "Values": ["test-isolated"]}])["RouteTables"]
    ec2.create_route(RouteTableId=tables[0]["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)


def _public_subnet() -> None:
    ec2 = client("ec2")
    subnet = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["test-isolated-a"]}])["Subnets"][0]
    ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})


def _open_default() -> None:
    client("ec2").authorize_security_group_ingress(
        GroupId=account.default_group()["GroupId"],
        IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}],
    )


def _detector() -> None:
    detector = client("guardduty").list_detectors()["DetectorIds"][0]
    client("guardduty").update_detector(DetectorId=detector, Enable=False)


def _database(**changes: object) -> Callable[[], None]:
    return lambda: client("rds").modify_db_instance(
        DBInstanceIdentifier="test-postgresql", ApplyImmediately=True, **changes
    )


def _other_parameters() -> None:
    client("rds").create_db_parameter_group(
        DBParameterGroupName="other", DBParameterGroupFamily="postgres17", Description="-"
    )
    _database(DBParameterGroupName="other")()


def _encryption(key: str) -> None:
    rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
    client("s3").put_bucket_encryption(
        Bucket=BUCKET,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]},
    )


def _foreign_key() -> str:
    return str(client("kms").create_key()["KeyMetadata"]["Arn"])


def _attributes(service: str) -> None:
    other = _foreign_key()
    if service == "sqs":
        url = client("sqs").get_queue_url(QueueName="test-events")["QueueUrl"]
        client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": other})
    else:
        arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:test-operations"
        client("sns").set_topic_attributes(TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue=other)


def _public_repository() -> None:
    statement = {"Sid": "Everyone", "Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}
    client("ecr").set_repository_policy(
        repositoryName="falaj/platform", policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )


def _attach() -> None:
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    )
    arn = client("iam").create_policy(PolicyName="by-hand", PolicyDocument=document)["Policy"]["Arn"]
    client("iam").attach_role_policy(RoleName="test-cluster", PolicyArn=arn)


def _other_key(**of_key: object) -> None:
    other = client("kms").create_key(**of_key)["KeyMetadata"]["KeyId"]
    client("kms").update_alias(AliasName="alias/test/raw", TargetKeyId=other)


def _copied() -> None:
    client("s3").create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": REGION})
    client("s3").put_bucket_versioning(Bucket="elsewhere", VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
    }
    rule |= {"Destination": {"Bucket": "arn:aws:s3:::elsewhere"}}
    client("s3").put_bucket_replication(
        Bucket=BUCKET, ReplicationConfiguration={"Role": f"arn:aws:iam::{ACCOUNT}:role/copy", "Rules": [rule]}
    )


def _no_alias() -> None:
    """What is encrypted by a key is encrypted by none of the stack's own then."""
    client("kms").create_alias(AliasName="alias/other", TargetKeyId=_key())
    _other_key()


def _tags(**changed: str) -> None:
    tags = account.tagged(**({"data-class": "raw", "retention": "30d"} | changed))
    client("s3").put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})


def _without_subnet() -> None:
    ec2 = client("ec2")
    tagged = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["vpc"]}])["Tags"]
    ec2.delete_tags(Resources=[tag["ResourceId"] for tag in tagged], Tags=[{"Key": "Name"}])


BROKEN: list[tuple[str, str, Callable[[], object]]] = [
    ("buckets", "closed", lambda: client("s3").delete_public_access_block(Bucket=BUCKET)),
    (
        "buckets",
        "owner",
        lambda: client("s3").put_bucket_ownership_controls(
            Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
        ),
    ),
    ("buckets", "encryption", lambda: _encryption("")),
    ("buckets", "encryption", lambda: _encryption(_foreign_key())),
    (
        "buckets",
        "versions",
        lambda: client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}),
    ),
    ("buckets", "tls", lambda: client("s3").delete_bucket_policy(Bucket=BUCKET)),
    (
        "buckets",
        "policies",
        lambda: client("s3").put_bucket_policy(
            Bucket=BUCKET,
            Policy=_policy(
                Sid="E", Effect="Allow", Principal="*", Action="s3:GetObject", Resource=f"arn:aws:s3:::{BUCKET}/*"
            ),
        ),
    ),
    ("buckets", "retention", lambda: account.expire(3000)),
    (
        "buckets",
        "lock",
        lambda: client("s3").put_object_lock_configuration(
            Bucket=BUCKET,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
            },
        ),
    ),
    (
        "buckets",
        "no_website",
        lambda: client("s3").put_bucket_website(
            Bucket=BUCKET, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
        ),
    ),
    ("keys", "rotation", lambda: client("kms").disable_key_rotation(KeyId=_key())),
    ("keys", "of_this_region", lambda: _other_key(MultiRegion=True)),
    ("keys", "own", lambda: _other_key(Origin="EXTERNAL")),
    ("account", "tags", lambda: _tags(owner="someone")),
    ("account", "data_tags", lambda: _tags(**{"data-class": "public"})),
    ("buckets", "no_copies", _copied),
    ("buckets", "region", lambda: client("s3").delete_bucket(Bucket=BUCKET)),
    ("databases", "encrypted", _no_alias),
    ("databases", "passwords", _no_alias),
    ("databases", "version", _database(EngineVersion="16.3", AllowMajorVersionUpgrade=True)),
    (
        "databases",
        "logs",
        _database(CloudwatchLogsExportConfiguration={"DisableLogTypes": ["postgresql"]}),
    ),
    ("registry", "encrypted", _no_alias),
    ("control_plane", "secrets", _no_alias),
    ("stores", "cache_key", _no_alias),
    ("network", "network", _without_subnet),
    (
        "watch",
        "trail_sees_objects",
        lambda: client("cloudtrail").put_event_selectors(
            TrailName="test",
            AdvancedEventSelectors=[
                {"Name": "M", "FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}
            ],
        ),
    ),
    ("backup", "vault", _no_alias),
    (
        "backup",
        "locked",
        lambda: client("backup").delete_backup_vault_lock_configuration(BackupVaultName="test"),
    ),
    ("keys", "usable", lambda: client("kms").disable_key(KeyId=_key())),
    ("keys", "usable", lambda: client("kms").delete_alias(AliasName="alias/test/raw")),
    ("keys", "policies", lambda: _key_policy("*")),
    ("keys", "policies", lambda: _key_policy("arn:aws:iam::999999999999:root")),
    ("databases", "private", _database(PubliclyAccessible=True)),
    ("databases", "backups", _database(BackupRetentionPeriod=1)),
    ("databases", "protected", _database(DeletionProtection=False)),
    ("databases", "zones", _database(MultiAZ=False)),
    ("databases", "parameters_in_force", _other_parameters),
    ("databases", "tls", lambda: account.force_tls("0")),
    ("databases", "available", lambda: client("rds").stop_db_instance(DBInstanceIdentifier="test-postgresql")),
    (
        "stores",
        "log_groups",
        lambda: client("logs").put_retention_policy(logGroupName="/test/flows", retentionInDays=1),
    ),
    ("stores", "queues", lambda: _attributes("sqs")),
    ("stores", "topics", lambda: _attributes("sns")),
    ("stores", "secrets", lambda: client("secretsmanager").delete_secret(SecretId="test/cache")),
    (
        "control_plane",
        "endpoint",
        lambda: client("eks").update_cluster_config(
            name="test", resourcesVpcConfig={"endpointPublicAccess": True, "publicAccessCidrs": ["0.0.0.0/0"]}
        ),
    ),
    (
        "control_plane",
        "logs",
        lambda: client("eks").update_cluster_config(
            name="test", logging={"clusterLogging": [{"types": ["audit"], "enabled": False}]}
        ),
    ),
    ("control_plane", "active", lambda: client("eks").delete_cluster(name="test")),
    (
        "registry",
        "immutable",
        lambda: client("ecr").put_image_tag_mutability(repositoryName="falaj/platform", imageTagMutability="MUTABLE"),
    ),
    (
        "registry",
        "scanned",
        lambda: client("ecr").put_image_scanning_configuration(
            repositoryName="falaj/platform", imageScanningConfiguration={"scanOnPush": False}
        ),
    ),
    ("registry", "closed", _public_repository),
    ("network", "default_group", _open_default),
    ("network", "groups", lambda: _open_group("0.0.0.0/0")),
    ("network", "isolated", _way_out),
    ("network", "subnets", _public_subnet),
    (
        "network",
        "flow_logs",
        lambda: client("ec2").delete_flow_logs(
            FlowLogIds=[one["FlowLogId"] for one in client("ec2").describe_flow_logs()["FlowLogs"]]
        ),
    ),
    ("network", "machines", lambda: account.launch_template("optional")),
    (
        "network",
        "endpoints",
        lambda: client("ec2").delete_vpc_endpoints(
            VpcEndpointIds=[one["VpcEndpointId"] for one in client("ec2").describe_vpc_endpoints()["VpcEndpoints"]]
        ),
    ),
    ("identity", "trust", lambda: _trust("*")),
    ("identity", "trust", lambda: _trust({"AWS": "arn:aws:iam::999999999999:root"})),
    ("identity", "rights", lambda: account.give("s3:*")),
    ("identity", "attached", _attach),
    ("watch", "trail", lambda: client("cloudtrail").stop_logging(Name="test")),
    (
        "watch",
        "trail_is_whole",
        lambda: client("cloudtrail").update_trail(Name="test", IsMultiRegionTrail=False),
    ),
    ("watch", "findings", _detector),
    (
        "watch",
        "recorder",
        lambda: client("config").stop_configuration_recorder(ConfigurationRecorderName="test"),
    ),
    ("watch", "alarms", lambda: account.alarm()),
    ("watch", "alarms", lambda: client("cloudwatch").delete_alarms(AlarmNames=["test-cpu"])),
    (
        "watch",
        "no_alarm",
        lambda: client("cloudwatch").set_alarm_state(AlarmName="test-cpu", StateValue="ALARM", StateReason="full"),
    ),
    ("watch", "rules", lambda: client("events").disable_rule(Name="test-findings")),
    (
        "watch",
        "someone_is_told",
        lambda: client("sns").unsubscribe(
            SubscriptionArn=client("sns").list_subscriptions()["Subscriptions"][0]["SubscriptionArn"]
        ),
    ),
    (
        "cost",
        "budget",
        lambda: client("budgets").delete_notification(
            AccountId=ACCOUNT, BudgetName="test", Notification=account.NOTIFICATION
        ),
    ),
]


@pytest.mark.parametrize("part", HOLDING)
def test_what_is_as_it_must_be_holds(part: str) -> None:
    report = _look(account.declared(HOLDING[part]()), part)
    assert _failed(report) == set()
    assert "passed" in report.counts
    assert report.asked == {"account": ACCOUNT, "region": REGION}


@pytest.mark.parametrize(("part", "check", "broken"), BROKEN, ids=[f"{part}-{check}" for part, check, _ in BROKEN])
def test_what_is_broken_is_found(part: str, check: str, broken: Callable[[], object]) -> None:
    declared = account.declared(HOLDING[part]())
    broken()
    assert f"{part}.{check}" in _failed(_look(declared, part))


UNBROKEN = {
    "account.cluster",
    "account.credentials",
    "account.nothing_elsewhere",
    "backup.no_copies_elsewhere",
    "backup.plan",
    "backup.recent",
    "control_plane.addons",
    "control_plane.entries",
    "control_plane.node_groups",
    "control_plane.pod_identities",
    "control_plane.protected",
    "control_plane.sign_in",
    "cost.anomalies",
    "stores.broker",
    "stores.cache_encrypted",
    "stores.cache_standby",
    "stores.cache_users",
    "stores.search",
    "watch.hub",
    "watch.scanner",
}
"""moto has not got what they ask, or nothing that would be broken; docs/verify.md names them."""


def test_each_other_check_of_an_account_was_seen_to_fail() -> None:
    every = {f"{part}.{name}" for part in PARTS["aws"] for name in _names(part)}
    assert every - {f"{part}.{check}" for part, check, _ in BROKEN} == UNBROKEN
    text = (ROOT / "docs" / "verify.md").read_text()
    assert {name for name in UNBROKEN if f"`{name}`" not in text} == set()


def _names(part: str) -> list[str]:
    module = importlib.import_module(f"verify.checks.{part}")
    return [name.removeprefix("test_") for name in vars(module) if name.startswith("test_")]

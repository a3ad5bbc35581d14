"""The provider `aws` against moto's server: made, looked at, altered by hand, repaired, deleted."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from rehearsal.aws import KINDS
from rehearsal.aws.provider import NOT_EMULATED, AwsProvider
from rehearsal.aws.tagging import tagging
from rehearsal.aws.trust import emulates, rows, word
from rehearsal.notes import FOLDER, read
from rehearsal.protocol import NotFoundError, ProviderError

ACCOUNT = "111122223333"
ROOT = Path(__file__).resolve().parents[2]
_VPC = "aws:ec2/vpc:Vpc"
_SUBNET = "aws:ec2/subnet:Subnet"
_ACCESS = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("moto") / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "rehearsal.aws.emulation"],
            cwd=ROOT,
            env={"PATH": "", "MOTO_ACCOUNT_ID": ACCOUNT},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture
def provider(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsProvider:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    made = AwsProvider()
    made.configure(
        {
            "region": "me-central-1",
            "allowedAccountIds": f'["{ACCOUNT}"]',
            "defaultTags": '{"tags": {"owner": "someone"}}',
        }
    )
    return made


def test_of_another_account(provider: AwsProvider) -> None:
    with pytest.raises(ProviderError, match="are of account 111122223333"):
        provider.configure({"region": "me-central-1", "allowedAccountIds": '["999999999999"]'})


def test_a_network_and_a_range_that_overlaps(provider: AwsProvider) -> None:
    vpc = provider.create(_VPC, "vpc", {"cidrBlock": "10.9.0.0/16", "enableDnsSupport": True})
    assert vpc.outputs["defaultRouteTableId"].startswith("rtb-")
    assert vpc.outputs["tagsAll"] == {"owner": "someone"}
    inputs = {"vpcId": vpc.id, "cidrBlock": "10.9.1.0/24", "availabilityZoneId": "mec1-az1"}
    subnet = provider.create(_SUBNET, "one", inputs)
    with pytest.raises(ProviderError, match=r"InvalidSubnet\.Conflict"):
        provider.create(_SUBNET, "two", inputs)
    with pytest.raises(ProviderError, match="InvalidParameterValue"):
        provider.create(_SUBNET, "three", inputs | {"cidrBlock": "10.9.2.0/24", "availabilityZoneId": "mec1-az9"})
    with pytest.raises(NotFoundError, match=r"InvalidVpcID\.NotFound"):
        provider.create(_SUBNET, "four", inputs | {"vpcId": "vpc-0123456789abcdef0"})
    provider.delete(_SUBNET, subnet.id, inputs, subnet.outputs)
    with pytest.raises(NotFoundError):
        provider.read(_SUBNET, subnet.id, inputs, subnet.outputs)
    assert provider.difference(_SUBNET, inputs, subnet.outputs, inputs | {"cidrBlock": "10.9.3.0/24"}).replaced == {
        "cidrBlock"
    }


def test_what_has_a_name_of_ours_is_there_once_though_it_was_made_twice(provider: AwsProvider, address: str) -> None:
    rule = {"name": "findings", "eventPattern": '{"source": ["aws.guardduty"]}'}
    provider.create("aws:cloudwatch/eventRule:EventRule", "findings", rule)
    kind = "aws:cloudwatch/eventTarget:EventTarget"
    inputs = {"rule": "findings", "targetId": "topic", "arn": f"arn:aws:sns:me-central-1:{ACCOUNT}:one"}
    made = [provider.create(kind, "findings", inputs) for _ in range(2)]
    other = inputs | {"arn": f"arn:aws:sns:me-central-1:{ACCOUNT}:two"}
    assert provider.difference(kind, inputs, made[1].outputs, other).replaced == set()
    provider.update(kind, made[1].id, inputs, made[1].outputs, other)
    events = boto3.client("events", region_name="me-central-1")
    assert [one["Arn"] for one in events.list_targets_by_rule(Rule="findings")["Targets"]] == [other["arn"]]
    trusted = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = {"name": "one", "assumeRolePolicy": json.dumps({"Version": "2012-10-17", "Statement": [trusted]})}
    provider.create("aws:iam/role:Role", "one", role)
    allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    rights = {"role": "one", "name": "rights", "policy": json.dumps({"Version": "2012-10-17", "Statement": [allowed]})}
    assert {provider.create("aws:iam/rolePolicy:RolePolicy", "one", rights).id for _ in range(2)} == {"one:rights"}
    assert boto3.client("iam", region_name="me-central-1").list_role_policies(RoleName="one")["PolicyNames"] == [
        "rights"
    ]


def test_what_was_altered_by_hand_is_found_and_repaired(provider: AwsProvider, address: str) -> None:
    bucket = {"bucket": "falaj-test-raw", "objectLockEnabled": False, "forceDestroy": False}
    provider.create("aws:s3/bucket:Bucket", "raw", bucket)
    inputs = {
        "bucket": "falaj-test-raw",
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }
    made = provider.create(_ACCESS, "raw", inputs)
    found = provider.read(_ACCESS, made.id, inputs, made.outputs)
    assert not provider.difference(_ACCESS, found.inputs, found.outputs, inputs).changed
    s3 = boto3.client("s3", region_name="me-central-1")
    s3.put_public_access_block(
        Bucket="falaj-test-raw", PublicAccessBlockConfiguration={"BlockPublicAcls": False, "IgnorePublicAcls": True}
    )
    found = provider.read(_ACCESS, made.id, inputs, made.outputs)
    difference = provider.difference(_ACCESS, found.inputs, found.outputs, inputs)
    assert difference.changed
    assert not difference.replaced
    provider.update(_ACCESS, made.id, found.inputs, found.outputs, inputs)
    assert s3.get_public_access_block(Bucket="falaj-test-raw")["PublicAccessBlockConfiguration"]["BlockPublicAcls"]


def test_what_moto_lacks_is_checked_against_the_model_and_told(provider: AwsProvider, tmp_path: Path) -> None:
    kind = "aws:eks/accessEntry:AccessEntry"
    inputs = {"clusterName": "one", "principalArn": f"arn:aws:iam::{ACCOUNT}:role/one", "type": "STANDARD"}
    provider.create(kind, "one", inputs)
    assert read(tmp_path)[NOT_EMULATED] == ["eks:CreateAccessEntry"]
    with pytest.raises(ProviderError, match="AWS knows no principal:"):
        provider.create(kind, "two", {"clusterName": "one", "principal": "x"})


def test_an_unknown_type_and_a_broken_policy_are_named(provider: AwsProvider) -> None:
    assert provider.check("aws:ec2/instance:Instance", {}) == [
        "the rehearsal does not know aws:ec2/instance:Instance: add it to the tables in rehearsal/aws"
    ]
    assert provider.check("aws:s3/bucketPolicy:BucketPolicy", {"policy": "{"})[0].startswith("policy is no JSON")


def test_each_table_names_operations_that_aws_has() -> None:
    clients: dict[str, set[str]] = {}
    for kind, table in KINDS.items():
        named = [
            (step.service or table.service, step.operation)
            for step in (table.create, *table.after, *table.update, *table.delete)
        ]
        if table.read is not None:
            named.append((table.service, table.read.operation))
        for service, operation in named:
            if service not in clients:
                model = boto3.client(service, region_name="me-central-1").meta.service_model
                clients[service] = set(model.operation_names)
            for name in [operation.replace("{direction}", side) for side in ("Ingress", "Egress")]:
                assert name in clients[service], f"{kind}: {service} has no {name}"


def test_the_documentation_says_how_far_the_word_on_each_type_goes() -> None:
    assert "\n".join(rows()) in (ROOT / "docs" / "rehearsal.md").read_text(), "run `python -m rehearsal.aws.trust`"


def test_what_the_emulation_lacks_is_known_from_it(provider: AwsProvider, tmp_path: Path) -> None:
    inputs = {"clusterName": "one", "principalArn": f"arn:aws:iam::{ACCOUNT}:role/one", "type": "STANDARD"}
    provider.create("aws:eks/accessEntry:AccessEntry", "one", inputs)
    assert read(tmp_path)[NOT_EMULATED] == ["eks:CreateAccessEntry"]
    assert word(KINDS["aws:eks/accessEntry:AccessEntry"]) == "parameters alone, by AWS's model"
    assert word(KINDS["aws:ec2/vpc:Vpc"]) == "made and looked at"
    assert emulates("eks", "CreateCluster")
    assert not emulates("eks", "CreateAccessEntry")


def test_tags_of_what_is_there_change_in_place(provider: AwsProvider, address: str) -> None:
    inputs = {"cidrBlock": "10.8.0.0/16", "tags": {"name": "one"}}
    made = provider.create(_VPC, "tagged", inputs)
    assert not provider.difference(_VPC, inputs, made.outputs, inputs).changed
    provider.configure({"region": "me-central-1", "defaultTags": '{"tags": {"owner": "another"}}'})
    found = provider.difference(_VPC, inputs, made.outputs, inputs)
    assert found.changed == {"tagsAll"}
    assert not found.replaced
    outputs = provider.update(_VPC, made.id, inputs, made.outputs, inputs)
    assert outputs["tagsAll"] == {"name": "one", "owner": "another"}
    vpc = boto3.client("ec2", region_name="me-central-1").describe_vpcs(VpcIds=[made.id])["Vpcs"][0]
    assert {each["Key"]: each["Value"] for each in vpc["Tags"]} == {"name": "one", "owner": "another"}
    with pytest.raises(ProviderError, match="takes no tag away"):
        provider.update(_VPC, made.id, inputs, outputs, {"cidrBlock": "10.8.0.0/16"})


def test_each_type_with_tags_has_a_call_that_changes_them() -> None:
    for kind, table in KINDS.items():
        if table.tags:
            step = tagging(kind, table.service)
            model = boto3.client(table.service, region_name="me-central-1").meta.service_model
            assert step.template.keys() <= model.operation_model(step.operation).input_shape.members.keys(), kind

"""The preflight, asked of moto's account; quotas, which moto lacks, are tried in test_quotas.py."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from core.errors import ServiceError
from infra.config import StackConfig, parse_config
from infra.substrates.aws import preflight
from tests.infra.aws.planned import aws
from tests.infra.variations import document

ACCOUNT = "123456789012"
"""moto's."""
SECRETS = ["falaj/oidc"]


def settings() -> StackConfig:
    """`smb`, in moto's account."""
    changed = document("smb")
    changed["substrate"]["account_id"] = ACCOUNT
    for entry in changed["substrate"]["cluster"]["access"]:
        entry["role"] = entry["role"].replace("111122223333", ACCOUNT)
    return parse_config(changed, "smb")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "example")
    monkeypatch.setattr(preflight, "shortfalls", lambda *_: [])
    with mock_aws():
        yield boto3.Session(region_name="me-central-1")


def found(session: boto3.Session, config: StackConfig | None = None) -> list[str]:
    config = config or settings()
    client: Any = session.client
    return list(preflight.obstacles(config, aws(config), SECRETS, client))


def prepare(session: boto3.Session) -> str:
    """Make all that the stack asks for; the id of the hosted zone."""
    trust = "{}"
    iam = session.client("iam")
    iam.create_role(RoleName="platform-administrators", AssumeRolePolicyDocument=trust)
    for service in ("autoscaling", "spot"):
        iam.create_service_linked_role(AWSServiceName=f"{service}.amazonaws.com")
    secrets = session.client("secretsmanager", region_name="me-central-1")
    secrets.create_secret(Name="falaj/oidc", SecretString="example")
    zone = session.client("route53").create_hosted_zone(Name="example.ae", CallerReference="1")["HostedZone"]["Id"]
    return str(zone).rpartition("/")[2]


def with_zone(zone: str, hostname: str = "ml.example.ae") -> StackConfig:
    """Copied past the schema: moto's zones have no id as AWS gives them."""
    config = settings()
    public = config.gateway.public
    assert public is not None
    public = public.model_copy(update={"hostname": hostname, "tls": public.tls.model_copy(update={"dns_zone": zone})})
    return config.model_copy(update={"gateway": config.gateway.model_copy(update={"public": public})})


def test_an_empty_account_lacks_all_of_it(account: boto3.Session) -> None:
    told = "\n".join(found(account))
    assert "platform-administrators is not there" in told
    assert "secret falaj/oidc is not in Secrets Manager" in told
    assert "hosted zone Z0123456789ABCDEFGHIJ is not there" in told
    assert "AWSServiceRoleForAutoScaling is missing" in told


def test_an_account_that_has_all_of_it_is_ready(account: boto3.Session) -> None:
    zone = prepare(account)
    told = found(account, with_zone(zone))
    # moto makes roles of services under names of its own.
    assert [obstacle for obstacle in told if "AWSServiceRole" not in obstacle] == []


def test_a_name_outside_the_hosted_zone_is_told(account: boto3.Session) -> None:
    zone = prepare(account)
    told = found(account, with_zone(zone, "ml.example.com"))
    assert any("is example.ae, and gateway.public.hostname ml.example.com is not below it" in item for item in told)


def test_another_account_ends_it_at_once(account: boto3.Session) -> None:
    changed = parse_config(document("smb"), "smb")
    (told,) = found(account, changed)
    assert (
        told == f"these credentials are of account {ACCOUNT}, and substrate.account_id is 111122223333: sign in there"
    )


def test_machines_that_are_not_offered_today_are_told(account: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

    offers = INSTANCE_TYPE_OFFERINGS["availability-zone-id"]
    kept = [offer for offer in offers["me-central-1"] if offer["InstanceType"] != "m7i.large"]
    monkeypatch.setitem(offers, "me-central-1", kept)
    assert any(
        "m7i.large is not offered in mec1-az1, mec1-az3 today: change substrate.system" in t for t in found(account)
    )


def test_an_account_that_cannot_be_asked_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "example")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ServiceError, match="who is asking cannot be looked up"):
        found(boto3.Session(region_name="me-central-1"))

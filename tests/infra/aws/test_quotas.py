from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from core.errors import ServiceError
from infra.config import parse_config
from infra.substrates.aws.quotas import Need, Shortfall, missing_roles, needs, service_roles, shortfalls
from tests.infra.aws.planned import STACKS, aws, config
from tests.infra.variations import document

REGION = "me-central-1"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "example")


def wanted(stack: str) -> dict[str, Need]:
    settings = config(stack)
    found = needs(settings, aws(settings))
    by_code = {need.code: need for need in found}
    assert len(by_code) == len(found)
    return by_code


@pytest.mark.parametrize("stack", STACKS)
def test_every_need_is_positive_and_says_which_setting_it_comes_from(stack: str) -> None:
    for need in wanted(stack).values():
        assert need.amount > 0
        assert need.setting.startswith(("substrate.", "gateway."))


def test_machines_are_counted_by_family_and_capacity() -> None:
    found = wanted("prod")
    # system 6 × 4, services 64, inference 128, pipelines 256, notebooks 64
    assert found["L-1216C47A"].amount == 6 * 4 + 64 + 128 + 256 + 64
    assert found["L-DB2E81BA"].amount == 64 + 128
    assert found["L-34B43A08"].amount == 256
    assert "L-3819A6DF" not in found
    assert "substrate.nodes.training-gpu.limits.cpu" in found["L-DB2E81BA"].setting


def test_spot_gpus_have_a_quota_of_their_own() -> None:
    assert wanted("staging")["L-3819A6DF"].amount == 16
    changed = document("prod")
    changed["substrate"]["nodes"]["training-gpu"] |= {
        "instance_types": ["p5en.48xlarge"],
        "zones": ["mec1-az1", "mec1-az3"],
        "capacity": ["spot", "on-demand"],
        "limits": {"cpu": 192, "memory_gib": 2048, "gpus": 8},
    }
    settings = parse_config(changed, "prod")
    found = {need.code: need.amount for need in needs(settings, aws(settings))}
    assert (found["L-417A185B"], found["L-C4BD4855"]) == (192, 192)


def test_each_gateway_has_an_address() -> None:
    assert wanted("prod")["L-0263D0A3"].amount == 3
    assert wanted("smb")["L-0263D0A3"].amount == 1
    changed = document("prod")
    changed["substrate"]["network"]["nat"] = "none"
    settings = parse_config(changed, "prod")
    assert "L-0263D0A3" not in {need.code for need in needs(settings, aws(settings))}


def test_a_cache_counts_all_its_nodes() -> None:
    assert wanted("prod")["L-DFE45DF3"].amount == 2 * 3


@pytest.fixture
def quotas() -> Iterator[Any]:
    """moto knows the quotas of networks as AWS ships them, and no others."""
    with mock_aws():
        yield boto3.client("service-quotas", region_name=REGION)


def test_quotas_of_networks_are_enough_for_one_stack(quotas: Any) -> None:
    found = [need for need in wanted("prod").values() if need.service == "vpc"]
    assert len(found) == 4
    assert shortfalls(found, quotas) == []


def test_a_quota_that_is_too_small_is_told_with_its_setting(quotas: Any) -> None:
    need = Need(service="vpc", code="L-F678F1CE", name="VPCs per Region", amount=6, setting="substrate.network")
    (found,) = shortfalls([need], quotas)
    assert found == Shortfall(need=need, applied=5)
    assert str(found) == (
        "VPCs per Region (vpc L-F678F1CE) is 5, and the stack may need 6: ask for more in Service Quotas, "
        "or lower substrate.network"
    )


def need() -> Need:
    return next(need for need in wanted("prod").values() if need.code == "L-DB2E81BA")


@pytest.mark.parametrize(("value", "short"), [(0.0, True), (191.0, True), (192.0, False), (1000.0, False)])
def test_an_account_s_own_value_counts(value: float, short: bool) -> None:
    client: Any = boto3.client("service-quotas", region_name=REGION)
    question = {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"}
    with Stubber(client) as stubber:
        stubber.add_response("get_service_quota", {"Quota": {"Value": value}}, question)
        assert bool(shortfalls([need()], client)) == short


def test_without_a_value_of_its_own_the_account_has_the_default() -> None:
    client: Any = boto3.client("service-quotas", region_name=REGION)
    question = {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"}
    with Stubber(client) as stubber:
        stubber.add_client_error("get_service_quota", "NoSuchResourceException", expected_params=question)
        stubber.add_response("get_aws_default_service_quota", {"Quota": {"Value": 0.0}}, question)
        (found,) = shortfalls([need()], client)
    assert found.applied == 0


@pytest.mark.parametrize(
    ("codes", "message"),
    [(["AccessDeniedException"], "cannot be looked up"), (["NoSuchResourceException"] * 2, "unknown in the region")],
)
def test_a_quota_that_cannot_be_asked_for_is_an_error(codes: list[str], message: str) -> None:
    client: Any = boto3.client("service-quotas", region_name=REGION)
    with Stubber(client) as stubber:
        for method, code in zip(("get_service_quota", "get_aws_default_service_quota"), codes, strict=False):
            stubber.add_client_error(method, code)
        with pytest.raises(ServiceError, match=f"L-DB2E81BA.*{message}"):
            shortfalls([need()], client)


def test_no_way_to_the_service_is_an_error() -> None:
    class Unreachable:
        def get_service_quota(self, **_question: str) -> None:
            raise EndpointConnectionError(endpoint_url="https://servicequotas.me-central-1.amazonaws.com")

        get_aws_default_service_quota = get_service_quota

    with pytest.raises(ServiceError, match="Could not connect"):
        shortfalls([need()], Unreachable())


@mock_aws
def test_roles_that_services_never_made_are_told_with_the_command() -> None:
    client: Any = boto3.client("iam", region_name=REGION)
    roles = service_roles(aws(config("prod")))
    assert {"AWSServiceRoleForAutoScaling", "AWSServiceRoleForAmazonOpenSearchService"} <= set(roles)
    assert len(missing_roles(roles, client)) == len(roles)
    for service in roles.values():
        client.create_service_linked_role(AWSServiceName=service)
    assert missing_roles({"AWSServiceRoleForAutoScaling": "autoscaling.amazonaws.com"}, client) == []


def test_a_stack_needs_the_roles_of_what_it_has() -> None:
    smb, dev = service_roles(aws(config("smb"))), service_roles(aws(config("dev")))
    assert "AWSServiceRoleForAmazonOpenSearchService" not in smb
    assert "AWSServiceRoleForEC2Spot" in dev

import json

import pytest
from pulumi import ResourceOptions

from infra.config import StackConfig
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.keys import CLASSES, Keys, KeysArgs, key_policy
from tests.infra.aws.planned import STACKS, account, aws, config, of_type, plan


def graph(stack: str) -> Graph:
    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        Keys("keys", KeysArgs(account=account, settings=aws(found).keys), options)

    return plan(make, config(stack), stack)


@pytest.mark.parametrize("stack", STACKS)
def test_every_class_has_a_rotating_key_that_stays_in_the_region(stack: str) -> None:
    found = of_type(graph(stack), "kms/key:Key")
    assert set(found) == set(CLASSES)
    for name, key in found.items():
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["multiRegion"] is False
        assert key.inputs["tags"]["data-class"] == name
        assert key.options.get("protect", False) == config(stack).protect


def test_no_key_is_open_to_others() -> None:
    for data_class in CLASSES:
        for statement in key_policy(data_class, account(), ["arn:aws:iam::444455556666:role/a"]):
            principal = statement["Principal"]
            assert principal != "*"
            assert "*" not in json.dumps(principal)
            if "Service" in principal and statement["Sid"] != "Findings":
                assert statement["Condition"]


def test_administrators_manage_and_do_not_use() -> None:
    role = "arn:aws:iam::444455556666:role/a"
    allowed = [s for s in key_policy("raw", account(), [role]) if s["Principal"] == {"AWS": [role]}]
    assert len(allowed) == 1
    assert not {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:*"} & set(allowed[0]["Action"])


def test_only_the_data_of_services_opens_a_key_to_services() -> None:
    for data_class in CLASSES:
        services = [s for s in key_policy(data_class, account(), []) if "Service" in s["Principal"]]
        assert bool(services) == (data_class in ("logs", "audit"))

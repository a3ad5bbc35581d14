import ipaddress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi import ResourceOptions

from core.errors import ConfigError
from infra.config import StackConfig, parse_config
from infra.config.network import Network as NetworkConfig
from infra.config.offerings import ZONES, ZoneId
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.network import Network, NetworkArgs
from tests.infra.aws.planned import STACKS, aws, config, of_type, plan, statements
from tests.infra.variations import document


def graph(found: StackConfig, stack: str = "prod") -> Graph:
    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        substrate = aws(found)
        arguments = NetworkArgs(
            account=account,
            settings=substrate.network,
            zones=substrate.zones,
            cluster=account.prefix,
            logs_key=account.arn("kms", "key/logs"),
        )
        Network("network", arguments, options)

    return plan(make, found, stack)


SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(ZONES, size)]


@given(st.sampled_from(SUBSETS), st.sampled_from(SUBSETS), st.integers(16, 20))
def test_no_subnet_moves_when_zones_come_and_go(
    one: tuple[ZoneId, ...], other: tuple[ZoneId, ...], length: int
) -> None:
    subnets = {"private": length + 3, "isolated": length + 6, "public": length + 8}
    network = NetworkConfig.model_validate({"cidr": f"10.0.0.0/{length}", "subnets": subnets})
    before, after = network.plan(one), network.plan(other)
    for tier in before:
        for zone in set(one) & set(other):
            assert before[tier][zone] == after[tier][zone]
    blocks = [ipaddress.ip_network(block) for zones in after.values() for block in zones.values()]
    assert len(blocks) == 3 * len(other)
    assert all(block.subnet_of(ipaddress.ip_network(network.cidr)) for block in blocks)
    assert not any(a.overlaps(b) for a, b in combinations(blocks, 2))


@pytest.mark.parametrize("stack", STACKS)
def test_subnets_are_pinned_to_zone_ids_and_give_no_public_address(stack: str) -> None:
    found = config(stack)
    subnets = of_type(graph(found, stack), "ec2/subnet:Subnet")
    assert {subnet.inputs["availabilityZoneId"] for subnet in subnets.values()} == set(aws(found).zones)
    assert len(subnets) == 3 * len(aws(found).zones)
    assert all(subnet.inputs["mapPublicIpOnLaunch"] is False for subnet in subnets.values())


@pytest.mark.parametrize(("nat", "gateways"), [("single", 1), ("per-zone", 3), ("none", 0)])
def test_only_private_subnets_have_a_way_out_and_only_through_nat(nat: str, gateways: int) -> None:
    changed = document("prod")
    changed["substrate"]["network"]["nat"] = nat
    found = graph(parse_config(changed, "prod"))
    assert len(of_type(found, "ec2/natGateway:NatGateway")) == gateways
    routes = of_type(found, "ec2/route:Route")
    private = {name: route for name, route in routes.items() if name.startswith("private")}
    assert set(routes) == {"public", *private}
    assert len(private) == (3 if gateways else 0)
    assert all("natGatewayId" in route.inputs and "gatewayId" not in route.inputs for route in private.values())
    if nat == "per-zone":
        assert len({route.inputs["natGatewayId"] for route in private.values()}) == 3


def test_no_nat_needs_every_endpoint() -> None:
    changed = document("smb")
    changed["substrate"]["network"]["nat"] = "none"
    with pytest.raises(ConfigError, match="nat is none, so nodes need the endpoints"):
        parse_config(changed, "smb")


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_is_let_in_from_the_internet(stack: str) -> None:
    found = graph(config(stack), stack)
    for rule in of_type(found, "ec2/securityGroupRule:SecurityGroupRule").values():
        assert "0.0.0.0/0" not in rule.inputs.get("cidrBlocks", [])
        assert rule.inputs["description"]
    default = of_type(found, "ec2/defaultSecurityGroup:DefaultSecurityGroup")["closed"]
    assert default.inputs["ingress"] == []
    assert default.inputs["egress"] == []


def test_flow_logs_are_encrypted_kept_a_year_and_written_by_a_role_of_their_own() -> None:
    found = graph(config("prod"))
    group = of_type(found, "cloudwatch/logGroup:LogGroup")["flow-logs"]
    assert group.inputs["kmsKeyId"]
    assert group.inputs["retentionInDays"] >= 365
    (statement,) = statements(of_type(found, "iam/rolePolicy:RolePolicy")["flow-logs"])
    assert statement["Resource"].endswith("log-group:/falaj-prod/flow-logs:*")
    assert of_type(found, "ec2/flowLog:FlowLog")["flow-logs"].inputs["trafficType"] == "ALL"


def test_objects_are_reached_by_this_account_alone() -> None:
    found = graph(config("prod"))
    endpoint = of_type(found, "ec2/vpcEndpoint:VpcEndpoint")["s3"]
    everything, layers = statements(endpoint)
    assert everything["Condition"] == {"StringEquals": {"aws:PrincipalAccount": "444455556666"}}
    assert layers["Action"] == "s3:GetObject"
    assert layers["Resource"] == "arn:aws:s3:::prod-me-central-1-starport-layer-bucket/*"

"""The estimate: sums that can be done by hand, and nothing hidden."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from policies.cost import estimate, machine, read_prices
from policies.engine import Status, check
from policies.rules import BY_ID
from policies.rules.residency import STACK
from tests.policies.graphs import BASES, Described, graph

HOURS = 730
FACTOR = 1.23


def bill(described: Described) -> dict[str, float]:
    return estimate(graph(described)).by(lambda line: line.item)


def test_a_database_with_a_standby_costs_twice() -> None:
    one = {
        "$type": "rds/instance:Instance",
        "instanceClass": "db.t4g.medium",
        "allocatedStorage": 20,
        "multiAz": False,
        "engine": "postgres",
    }
    assert bill([one]) == pytest.approx({"rds:db.t4g.medium": 0.08 * HOURS, "rds:gp3": 0.115 * FACTOR * 20})
    double = {**one, "multiAz": True}
    assert estimate(graph([double])).monthly == pytest.approx(2 * estimate(graph([one])).monthly)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("m7i.large", ("ec2:m7i", 1.0)),
        ("m7i.xlarge", ("ec2:m7i", 2.0)),
        ("m7i.4xlarge", ("ec2:m7i", 8.0)),
        ("g6e.4xlarge", ("ec2:g6e.4xlarge", 1.0)),
    ],
)
def test_sizes_of_a_family_cost_in_proportion(kind: str, expected: tuple[str, float]) -> None:
    assert machine(kind) == expected


def test_a_pool_is_a_share_of_its_ceiling() -> None:
    found = {line.item: line for line in estimate(graph(BASES["pool"])).lines}
    # 64 virtual CPUs are 32 of the size large, of which 40 in 100 run; each has a disk of 50 GiB.
    assert found["ec2:m7i"].monthly == pytest.approx(0.124 * 32 * 0.4 * HOURS)
    assert found["ec2:m7i"].assumes == ("hours", "services_utilisation")
    assert found["ebs:gp3"].monthly == pytest.approx(0.097 * 32 * 0.4 * 50)


def test_spot_costs_less_for_its_share() -> None:
    on_demand = estimate(graph(BASES["pool"])).monthly
    described = [dict(one) for one in BASES["pool"]]
    requirements = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m7i.large"]},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand", "spot"]},
    ]
    template = {"spec": {"nodeClassRef": {"name": "none"}, "requirements": requirements}}
    described[0] = {**described[0], "spec": {"limits": {"cpu": "64"}, "template": template}}
    found = estimate(graph(described))
    assert found.monthly == pytest.approx(0.124 * 32 * 0.2 * (0.7 * 0.4 + 0.3) * HOURS)
    assert found.monthly < on_demand


def test_valkey_costs_a_fifth_less() -> None:
    redis = {"$type": "elasticache/replicationGroup:ReplicationGroup", "engine": "redis", "nodeType": "cache.t3.small"}
    other = {**redis, "engine": "valkey", "numNodeGroups": 2, "replicasPerNodeGroup": 1}
    assert estimate(graph([other])).monthly == pytest.approx(4 * 0.8 * estimate(graph([redis])).monthly)


def test_what_has_no_price_is_named() -> None:
    found = estimate(graph([{"$type": "rds/instance:Instance", "instanceClass": "db.x9.huge", "allocatedStorage": 0}]))
    assert found.unpriced == ("rds:db.x9.huge",)
    assert found.monthly == 0


def test_tags_of_the_provider_and_of_the_resource_share_the_bill() -> None:
    found = estimate(graph([*BASES["account"], *BASES["network"]]))
    by_class = found.by(lambda line: line.tags.get("data-class", "none"))
    by_owner = found.by(lambda line: line.tags["owner"])
    assert by_class["platform"] > by_class["none"] > 0
    assert by_owner == pytest.approx({"a": found.monthly})


def test_every_price_has_a_source_with_a_date() -> None:
    prices = read_prices()
    assert {price.source for price in prices.prices.values()} <= set(prices.sources)
    assert all(source.date.year >= 2025 for source in prices.sources.values())
    assert prices.of("rds:db.t4g.medium") == 0.08
    assert prices.of("nat:hour") == 0.053
    assert prices.of("ec2:m5") == pytest.approx(0.096 * FACTOR)


def test_what_the_sum_rests_on_is_said_with_how_much_of_it() -> None:
    found = estimate(graph([*BASES["pool"], {"$type": "kms/key:Key"}]))
    said = {one.what: one.value for one in found.assumed()}
    assert said["services utilisation"] == "0.4 part of a pool's ceiling"
    assert said["Estimates for me-central-1 without a published source"] == f"{found.monthly - 1:,.0f} USD"
    assert said["AWS's price page of the service, us-east-1"] == "1 USD"
    assert "factor on us-east-1" not in said  # Nothing in this bill is scaled.


def test_no_budget_holds_for_what_has_no_price() -> None:
    one = {"$type": "rds/instance:Instance", "$name": "db", "instanceClass": "db.x9.huge", "allocatedStorage": 0}
    stack = {"$type": STACK, "$name": "stack"}
    (judged,) = check(graph([stack, one]), [BY_ID["cost-budget"]])
    assert judged.status is Status.FAIL
    assert judged.messages == ("what it costs cannot be told: there is no price of rds:db.x9.huge",)


def test_a_user_replaces_single_prices_and_assumptions(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "sources: {contract: {title: Our contract, date: 2026-10-01, checked: true}}\n"
        "prices: {'rds:db.t4g.medium': {usd: 0.05, per: hour, source: contract, basis: stated}}\n"
        "assumptions: {hours: {value: 100, unit: hours, why: Nights off.}}\n"
    )
    one: Described = [{"$type": "rds/instance:Instance", "instanceClass": "db.t4g.medium", "allocatedStorage": 0}]
    assert estimate(graph(one), read_prices(file)).monthly == pytest.approx(5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prices: {x: {usd: -1, per: h, source: ec2, basis: stated}}", "prices.x.usd"),
        (
            "prices: {x: {usd: 1, per: h, source: nowhere, basis: stated}}",
            "names the source nowhere: add it to sources",
        ),
        ("- 1", "holds no mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_broken_price_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_prices(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)

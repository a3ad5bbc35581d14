import pytest

from infra.config.aws import Cache, Database, Search
from infra.substrates.aws import bounds


@pytest.mark.parametrize(
    ("engine", "instance_class", "expected"),
    [
        # What RDS itself says of these, less what the system keeps: 4 GiB give 450, 16 GiB 1,802.
        ("postgresql", "db.t4g.medium", 450),
        ("postgresql", "db.m6g.large", 901),
        ("postgresql", "db.m6g.xlarge", 1802),
        ("postgresql", "db.r6g.2xlarge", 5000),
        ("mysql", "db.t4g.medium", 341),
        ("mysql", "db.m6g.large", 682),
    ],
)
def test_connections_follow_the_memory(engine: bounds.Engine, instance_class: str, expected: int) -> None:
    assert bounds.connections(engine, instance_class) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Cache(), ["falaj-001"]),
        (Cache(replicas=2), ["falaj-001", "falaj-002", "falaj-003"]),
        (Cache(shards=2, replicas=1), ["falaj-0001-001", "falaj-0001-002", "falaj-0002-001", "falaj-0002-002"]),
    ],
)
def test_each_node_of_a_cache_is_watched_by_the_name_that_it_gets(settings: Cache, expected: list[str]) -> None:
    assert bounds.nodes("falaj", settings) == expected
    alarms = bounds.cache("cache", "falaj", settings)
    assert {alarm.dimensions["CacheClusterId"] for alarm in alarms.values()} == set(expected)
    assert len(alarms) == 3 * len(expected)


def test_storage_is_counted_in_what_the_metric_counts() -> None:
    database = bounds.database("postgresql", "one", "postgresql", Database(storage_gib=100, max_storage_gib=100))
    assert database["postgresql-storage"].bound == pytest.approx(5 * 2**30)
    assert database["postgresql-storage"].above is False
    search = bounds.search("search", "one", "444455556666", Search(storage_gib=100))
    assert search["search-storage"].bound == pytest.approx(20 * 1024)
    assert search["search-storage"].statistic == "Minimum"


def test_each_broker_s_disk_is_watched() -> None:
    alarms = bounds.kafka("kafka", "falaj-kafka", 3)
    assert {alarm.dimensions.get("Broker ID") for alarm in alarms.values()} == {None, "1", "2", "3"}

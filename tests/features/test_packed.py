"""Our online store for one machine beside Feast's own: what is written to both is read alike from both."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Value
from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from core.online import EntityKeys
from features.packed import TYPE, PackedOnlineStore
from serving.runtime.features_redis import decode, field, microseconds, parse_connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.floats(allow_nan=False)
VALUES: dict[str, tuple[FeastType, st.SearchStrategy[Value]]] = {
    "int64": (Int64, st.builds(lambda number: Value(int64_val=number), INT64)),
    "int32": (Int32, st.builds(lambda number: Value(int32_val=number), st.integers(-(2**31), 2**31 - 1))),
    "bool": (Bool, st.builds(lambda answer: Value(bool_val=answer), st.booleans())),
    "double": (Float64, st.builds(lambda number: Value(double_val=number), NUMBER)),
    "float": (Float32, st.builds(lambda number: Value(float_val=number), st.floats(width=32, allow_nan=False))),
    'te"xt': (String, st.builds(lambda text: Value(string_val=text), TEXT)),
    "bytes": (Bytes, st.builds(lambda data: Value(bytes_val=data), st.binary(max_size=20))),
    "moment": (UnixTimestamp, st.builds(lambda number: Value(unix_timestamp_val=number), INT64)),
    "list": (
        Array(Float64),
        st.builds(lambda numbers: Value(double_list_val=DoubleList(val=numbers)), st.lists(NUMBER, max_size=3)),
    ),
    # Of another kind than the feature.
    "changed": (Float32, st.builds(lambda text: Value(string_val=text), TEXT)),
}
ROW = st.fixed_dictionaries({name: st.one_of(st.just(Value()), values) for name, (_, values) in VALUES.items()})
MOMENT = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.none() | st.just(UTC))
KEY = st.builds(
    lambda value: EntityKey(join_keys=["who"], entity_values=[value]),
    st.sampled_from([Value(string_val=f"p{number}") for number in range(4)] + [Value(int64_val=-1)]),
)


def view(names: list[str] | None = None) -> FeatureView:
    return FeatureView(
        name="people",
        entities=[Entity(name="who", join_keys=["who"], value_type=ValueType.STRING)],
        schema=[Field(name=name, dtype=dtype) for name, (dtype, _) in VALUES.items() if names is None or name in names],
        source=FileSource(name="none", path="none.parquet", timestamp_field="at"),
    )


def opened(folder: Path, kind: str) -> tuple[OnlineStore, RepoConfig]:
    store: OnlineStore = PackedOnlineStore() if kind == TYPE else SqliteOnlineStore()
    config = RepoConfig(
        project="falaj",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": kind, "path": str(folder / f"{kind[:6]}.db")},
        entity_key_serialization_version=3,
    )
    return store, config


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[OnlineStore, RepoConfig]]:
    folder = tmp_path_factory.mktemp("stores")
    return [opened(folder, TYPE), opened(folder, "sqlite")]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(KEY, ROW, MOMENT), max_size=6), st.lists(KEY, min_size=1, max_size=6))
def test_what_is_written_is_read_as_from_feasts_own_store(
    stores: list[tuple[OnlineStore, RepoConfig]],
    rows: list[tuple[EntityKey, dict[str, Value], datetime]],
    asked: list[EntityKey],
) -> None:
    read = []
    for store, config in stores:
        store.update(config, [], [view()], [], [], partial=False)
        store.online_write_batch(config, view(), [(*row, None) for row in rows[:3]], None)
        store.online_write_batch(config, view(), [(*row, None) for row in rows[3:]], None)
        read.append(store.online_read(config, view(), asked))
        store.update(config, [view()], [], [], [], partial=False)
    ours, theirs = read
    for (our_time, our_values), (their_time, their_values) in zip(ours, theirs, strict=True):
        assert our_values == their_values
        # Feast's keeps whole seconds.
        assert (our_time and our_time.replace(microsecond=0)) == their_time


def test_a_table_is_dropped_grown_and_torn_down_while_others_read(tmp_path: Path) -> None:
    (writer, config), (reader, _) = opened(tmp_path, TYPE), opened(tmp_path, TYPE)
    key = EntityKey(join_keys=["who"], entity_values=[Value(string_val="p")])
    moment, more = datetime(2020, 1, 1, 0, 0, 0, 5, UTC), {"int64": Value(int64_val=3), "bool": Value(bool_val=True)}
    writer.update(config, [], [view(["int64"])], [], [], partial=False)
    writer.online_write_batch(config, view(["int64"]), [(key, {"int64": Value(int64_val=2)}, moment, None)], None)
    assert reader.online_read(config, view(["int64"]), [key]) == [(moment, {"int64": Value(int64_val=2)})]
    writer.update(config, [], [view(["int64", "bool"])], [], [], partial=False)
    wider = view(["int64", "bool"])
    assert reader.online_read(config, wider, [key], ["bool"]) == [(moment, {"bool": Value()})]
    told: list[int] = []
    later = moment + timedelta(days=1)
    writer.online_write_batch(config, wider, [(key, more, later, None)], told.append)
    assert told == [1]
    assert reader.online_read(config, wider, [key]) == [(later, more)]
    # A NaN and a null are both a missing value.
    writer.online_write_batch(config, wider, [(key, {"int64": Value(double_val=math.nan)}, later, None)], None)
    assert reader.online_read(config, wider, [], None) == []
    writer.teardown(config, [wider], [])
    writer.update(config, [], [wider], [], [], partial=False)
    assert reader.online_read(config, wider, [key]) == [(None, None)]


@given(TEXT.filter(bool), TEXT | INT64)
def test_keys_are_feasts(name: str, value: str | int) -> None:
    held = Value(int64_val=value) if isinstance(value, int) else Value(string_val=value)
    assert EntityKeys(name)(value) == serialize_entity_key(EntityKey(join_keys=[name], entity_values=[held]), 3)


@given(st.data())
def test_values_of_redis_are_read_as_feast_wrote_them(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["int64", "int32", "bool", "double", "float", 'te"xt']))
    value = data.draw(VALUES[name][1])
    assert decode(value.SerializeToString()) == getattr(value, value.WhichOneof("val"))
    assert decode(Value().SerializeToString()) is decode(None) is None


@given(TEXT, TEXT, MOMENT)
def test_fields_and_times_of_redis_are_feasts(feature_view: str, feature: str, moment: datetime) -> None:
    assert field(feature_view, feature) == _mmh3(f"{feature_view}:{feature}")
    time = Timestamp()
    time.FromDatetime(moment)
    assert microseconds(time.SerializeToString()) == (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text", ["one:6379", "one:6379,two:6380,ssl=true,username=falaj", 'one:6379,password="12=3",db=2']
)
def test_connections_are_read_as_feast_reads_them(text: str) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    nodes, options = RedisOnlineStore._parse_connection_string(text)
    assert parse_connection(text) == ([(node["host"], int(node["port"])) for node in nodes], options)

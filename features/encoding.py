"""Feast's own encoding of entities and values, many at a time."""

import pandas as pd
from feast import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from features.definitions import Definitions


def entity_keys(defined: Definitions, records: pd.DataFrame, version: int) -> list[bytes]:
    """(n,) keys of the entities of `records`; `version` is the store's `entity_key_serialization_version`."""
    values = python_values_to_proto_values(records[defined.entity.join_key].tolist(), defined.entity.value_type)
    return [
        serialize_entity_key(EntityKey(join_keys=[defined.entity.join_key], entity_values=[value]), version)
        for value in values
    ]


def encoded(view: FeatureView, records: pd.DataFrame) -> dict[str, tuple[list[int], list[Value]]]:
    """Of each feature, in the order of their names, the distinct values, and (n,) positions of the records' in them."""
    columns = {}
    for field in sorted(view.features, key=lambda field: field.name):
        codes, unique = pd.factorize(records[field.name], use_na_sentinel=False)
        values = [None if pd.isna(value) else value for value in unique.tolist()]
        columns[field.name] = codes.tolist(), python_values_to_proto_values(values, field.dtype.to_value_type())
    return columns

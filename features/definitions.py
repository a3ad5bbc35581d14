"""Feast objects made from a data contract."""

from dataclasses import dataclass
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import FeastType, Float32, Int64, String

from core.contract import Column, DataContract, Type


@dataclass(frozen=True)
class Definitions:
    """What one contract registers. View and service bear the contract's name, the entity its column's."""

    entity: Entity
    view: FeatureView
    service: FeatureService


def definitions(contract: DataContract, source: str) -> Definitions:
    """Define the entity, the view over the Parquet file `source`, and the service.

    A view has no time to live: a record holds until a newer one of its entity replaces it, and what may no
    longer be kept is removed from the store, not hidden by its age. The sample's records are years old.
    """
    text = contract.personal or contract.columns[contract.entity].type is Type.STRING
    entity = Entity(
        name=contract.entity,
        join_keys=[contract.entity],
        value_type=ValueType.STRING if text else ValueType.INT64,
    )
    view = FeatureView(
        name=contract.name,
        description=contract.title,
        entities=[entity],
        ttl=timedelta(0),
        schema=[
            Field(name=name, dtype=feast_type(column), description=column.description)
            for name, column in contract.features.items()
        ],
        source=FileSource(name=f"{contract.name}_records", path=source, timestamp_field=contract.event_time),
        owner=contract.owner.contact,
        tags={"purpose": contract.purpose.id, "contract_version": str(contract.version)},
    )
    service = FeatureService(
        name=contract.name,
        features=[view],
        description=contract.purpose.description,
        owner=contract.owner.contact,
    )
    return Definitions(entity, view, service)


def feast_type(column: Column) -> FeastType:
    """Float32 for floats, String for categories of text, Int64 for integers and their categories."""
    if column.type is Type.FLOAT:
        return Float32
    if isinstance((column.values or (0,))[0], str):
        return String
    return Int64

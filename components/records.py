"""The layout of records.parquet, which ingest writes and the steps after it read."""

from core.contract import Column, DataContract, Type


def dtypes(contract: DataContract) -> dict[str, str]:
    """The pandas type of each column, in the contract's order. A pseudonym is a string."""
    return {
        name: "string" if contract.personal and name == contract.entity else _dtype(column)
        for name, column in contract.columns.items()
    }


def _dtype(column: Column) -> str:
    if column.type is Type.TIMESTAMP:
        return "datetime64[ns, UTC]"
    if column.type is Type.FLOAT:
        return "float64"
    if column.type is Type.STRING or isinstance((column.values or (0,))[0], str):
        return "string"
    return "Int64" if column.nullable else "int64"

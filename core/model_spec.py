"""What the runtime must know of an exported model: `model.json` beside `model.onnx`.

A model's repository is laid out as `<repository>/<model>/<version>/{model.onnx,model.json}`, and
`<repository>/<model>/live.json` says which version answers.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from core.contract import Name, Task

MODEL_FILE = "model.onnx"
SPEC_FILE = "model.json"
LIVE_FILE = "live.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Tensor(_Model):
    """An input or output of the graph, in Open Inference Protocol terms; a dimension of -1 is the batch.

    An input's `columns` name its second dimension.
    """

    name: str
    datatype: Literal["FP32", "INT64", "BYTES"]
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()


class FeatureRange(_Model):
    """What the contract admits for one numeric column; None is unbounded."""

    min: float | None = None
    max: float | None = None
    nullable: bool = False


class FeatureSource(_Model):
    """How a request that carries ids instead of features is completed.

    `entity` is the request's tensor name (BYTES, shape (n) or (n, 1)) and the join key of the view;
    `service` is the Feast feature service that lists the features in the order of the columns.
    """

    entity: str
    view: Name
    service: Name
    pseudonymised: bool


class Lineage(_Model):
    """Digests of all that the model came from."""

    contract: str
    data: str
    code: str
    environment: str
    pipeline_run: str
    mlflow_run: str


class ModelSpec(_Model):
    """Contract between the export step and every runtime."""

    name: Name
    task: Task
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ranges: dict[str, FeatureRange]
    categories: dict[str, tuple[str, ...]] = {}
    """What the contract admits for a category of strings; only such values reach the inference log."""
    features: FeatureSource
    lineage: Lineage


class Live(_Model):
    """Which versions are loaded: `live` answers, `previous` stays warm for a rollback."""

    live: int
    previous: int | None = None

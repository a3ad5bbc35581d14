"""What the runtime must know of an exported model: `model.json` beside `model.onnx`.

A model's repository is laid out as `<repository>/<model>/<version>/{model.onnx,model.json}`, and
`<repository>/<model>/live.json` says which version answers.
"""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.contract import Name, Task

MODEL_FILE = "model.onnx"
SPEC_FILE = "model.json"
LIVE_FILE = "live.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Tensor(_Model):
    """An input or output of the graph, in Open Inference Protocol terms.

    The first dimension is -1, the batch; where the second is -1 too, it is the length of a sequence. An input's
    `columns` name its last dimension; `padding` is what it is filled up with where sequences of different lengths run
    together.
    """

    name: str
    datatype: Literal["FP32", "INT64", "BYTES"]
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()
    padding: int | float | None = None

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        rest = self.shape[1:]
        if self.is_sequence and (rest[0] != -1 or -1 in rest[1:] or len(rest) > 2 or self.datatype == "BYTES"):
            raise ValueError(f"{self.name}: a sequence is FP32 or INT64 of shape (-1, -1) or (-1, -1, k)")
        return self

    @property
    def is_sequence(self) -> bool:
        """Whether its length differs from request to request."""
        return -1 in self.shape[1:]

    def sized(self, rows: int, length: int) -> tuple[int, ...]:
        """The shape for so many rows, of that length where it is a sequence."""
        return tuple(size if size != -1 else length if axis else rows for axis, size in enumerate(self.shape))


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


class Sequences(_Model):
    """How inputs and outputs of variable length are served; in one request all of them have the same length.

    `mask` names the input, of shape (-1, -1), that is 1 where a sequence holds something and 0 where it is filled up:
    what is there must not change an answer. Without one, only sequences of the same length run together.
    """

    max_length: int = Field(ge=1)
    mask: str | None = None


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
    """By column; a sequence without columns has one under its own name."""
    categories: dict[str, tuple[str, ...]] = {}
    """What the contract admits for a category of strings; only such values reach the inference log."""
    features: FeatureSource | None = None
    """None where no feature store holds what the model takes, as with sequences."""
    sequences: Sequences | None = None
    """None where nothing is of variable length."""
    lineage: Lineage

    @model_validator(mode="after")
    def _check_sequences(self) -> Self:
        fault = next(self._faults(), None)
        if fault is not None:
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        inputs = [tensor for tensor in self.inputs if tensor.is_sequence]
        if self.sequences is None:
            for tensor in (*inputs, *(tensor for tensor in self.outputs if tensor.is_sequence)):
                yield f"{tensor.name} is of variable length: sequences.max_length has to bound it"
            return
        if not inputs:
            yield "sequences: no input is of variable length"
        if self.features is not None:
            yield "features: sequences are not looked up in a feature store"
        mask = self.sequences.mask
        if mask is not None and not any(tensor.name == mask and len(tensor.shape) == 2 for tensor in inputs):
            yield f"sequences.mask: {mask} is no input of shape (-1, -1)"
        for tensor in inputs:
            if mask is None and tensor.padding is not None:
                yield f"{tensor.name}: padding {tensor.padding} is of no use without sequences.mask"
            elif mask is not None and tensor.padding is None:
                yield f"{tensor.name}: padding is missing"
            elif tensor.name != mask:
                yield from self._faults_of_range(tensor)
            elif tensor.padding != 0:
                yield f"{tensor.name}: the padding of a mask is 0"

    def _faults_of_range(self, tensor: Tensor) -> Iterator[str]:
        if tensor.columns and tensor.shape[2:] != (len(tensor.columns),):
            yield f"{tensor.name}: columns name a last dimension of {len(tensor.columns)}"
        for column in tensor.columns or (tensor.name,):
            admitted = self.ranges.get(column, FeatureRange())
            if tensor.datatype == "INT64" and (admitted.min is None or admitted.max is None):
                yield f"ranges: {column} has no min or no max, and an id that the graph does not know makes it fail"
            if tensor.datatype == "INT64" and isinstance(tensor.padding, float):
                yield f"{tensor.name}: padding {tensor.padding} is no integer"
            if tensor.padding is not None and not (
                (admitted.min is None or admitted.min <= tensor.padding)
                and (admitted.max is None or tensor.padding <= admitted.max)
            ):
                yield f"{tensor.name}: padding {tensor.padding} is outside the range of {column}"


class Live(_Model):
    """Which versions are loaded: `live` answers, `previous` stays warm for a rollback."""

    live: int
    previous: int | None = None

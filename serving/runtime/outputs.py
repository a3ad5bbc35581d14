"""What one run of the graph gave, for all the requests that were in it."""

import orjson

from core.model_spec import ModelSpec
from serving.runtime.model import Arrays


class Outputs:
    """The outputs of one run, each of them written as JSON once for all its requests."""

    def __init__(self, arrays: Arrays, spec: ModelSpec) -> None:
        self.arrays = arrays
        self._spec = spec
        self._cells: list[list[bytes] | None] = [None] * len(arrays)

    def text(self, index: int, start: int, end: int, width: int) -> bytes:
        """The elements of an output's rows from `start` to `end` as JSON, row-major, without brackets."""
        cells = self._cells[index]
        if cells is None:
            cells = self._cells[index] = self._write(index)
        return cells[start] if end - start == width == 1 else b",".join(cells[start * width : end * width])

    def _write(self, index: int) -> list[bytes]:
        flat = self.arrays[index].reshape(-1)
        if self._spec.outputs[index].datatype == "BYTES":
            return [orjson.dumps(text) for text in flat]
        return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")

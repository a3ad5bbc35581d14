"""What one run of the graph gave, for all the requests that were in it."""

from collections.abc import Sequence

import orjson

from core.model_spec import ModelSpec
from serving.runtime.arrays import Array, Arrays


class Outputs:
    """The outputs of one run, each of them written as JSON once for all its requests.

    Args:
        arrays: Of sequences (tokens, …), see `lengths.Cut`.
        edges: Where the tokens of each row begin and end; None where the length of nothing varies.
    """

    def __init__(self, arrays: Arrays, spec: ModelSpec, edges: Sequence[int] | None = None) -> None:
        self._arrays = arrays
        self._spec = spec
        self._edges = edges
        self._cells: list[list[bytes] | None] = [None] * len(arrays)

    def rows(self, index: int, start: int, end: int) -> Array:
        """An output's rows from `start` to `end`, which are of one length."""
        if self._edges is None or not self._spec.outputs[index].is_sequence:
            return self._arrays[index][start:end]
        tokens = self._arrays[index][self._edges[start] : self._edges[end]]
        return tokens.reshape(end - start, -1, *tokens.shape[1:])

    def all(self, start: int, end: int) -> Arrays:
        """All outputs' rows from `start` to `end`."""
        return tuple([self.rows(index, start, end) for index in range(len(self._arrays))])

    def text(self, index: int, start: int, end: int, width: int) -> bytes:
        """The elements of an output's rows from `start` to `end` as JSON, row-major, without brackets.

        Args:
            width: How many elements a row has, or a token where it is a sequence.
        """
        cells = self._cells[index]
        if cells is None:
            cells = self._cells[index] = self._write(index)
        if self._edges is not None and self._spec.outputs[index].is_sequence:
            start, end = self._edges[start], self._edges[end]
        return cells[start] if end - start == width == 1 else b",".join(cells[start * width : end * width])

    def _write(self, index: int) -> list[bytes]:
        flat = self._arrays[index].reshape(-1)
        if self._spec.outputs[index].datatype == "BYTES":
            return [orjson.dumps(text) for text in flat]
        return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")

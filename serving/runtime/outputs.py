"""What one run of the graph gave, for all the requests that were in it."""

from typing import Any

import orjson

from core.model_spec import ModelSpec
from serving.runtime.model import Arrays


class Outputs:
    """The outputs of one run of several requests, each of them written as JSON once for all."""

    def __init__(self, arrays: Arrays, spec: ModelSpec) -> None:
        self.arrays = arrays
        self._spec = spec
        self._texts: dict[int, bytes] = {}
        self._elements: dict[int, list[bytes]] = {}

    def text(self, index: int, start: int, end: int, width: int) -> bytes:
        """The elements of an output's rows from `start` to `end` as JSON, row-major, without brackets."""
        text = self._texts.get(index)
        if text is None:
            flat: Any = self.arrays[index].reshape(-1)
            if self._spec.outputs[index].datatype == "BYTES":
                flat = flat.tolist()
            text = self._texts[index] = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        if end - start == len(self.arrays[index]):
            return text
        if self._spec.outputs[index].datatype == "BYTES":
            return orjson.dumps(self.arrays[index][start:end].reshape(-1).tolist())[1:-1]
        elements = self._elements.get(index)
        if elements is None:
            elements = self._elements[index] = text.split(b",")
        return b",".join(elements[start * width : end * width])

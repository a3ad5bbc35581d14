"""What tensors are in memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]
"""One array an input (or output) of the spec, in its order; strings are `str` objects."""

DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "INT64": np.dtype(np.int64),
    "BYTES": np.dtype(object),
}

"""Sequences of different lengths in one run: the lengths that runs have, filling up to them, and cutting back."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

import numpy as np

from core.model_spec import Sequences, Tensor
from serving.runtime.arrays import Array, Arrays

_SHORTEST = 8


@cache
def buckets(longest: int) -> tuple[int, ...]:
    """The lengths that sequences are filled up to: 8, 16, 24, 32, 48, 64, 96, … and the longest.

    They are the powers of two and what lies halfway between them: above 8 a sequence grows by less than half, on
    average by a sixth, and up to 512 there are twelve. In training smaller steps are usual (Tensor2Tensor's begin at 8
    too and grow by a tenth: four times as many); there every bucket fills, here what waits should find company. All
    but the longest are multiples of 8, as matrix units want them.
    """
    steps = [_SHORTEST]
    while steps[-1] < longest:
        power = 2 * _SHORTEST << len(steps) // 2
        steps.append(power if len(steps) % 2 else power * 3 // 4)
    return (*(step for step in steps if step < longest), longest)


def run_length(length: int, sequences: Sequences | None) -> int:
    """How long the run is that takes sequences of this length: as their bucket, or, where no mask would hide what they
    are filled up with, as they are."""
    if sequences is None or sequences.mask is None:
        return length
    lengths = buckets(sequences.max_length)
    return lengths[bisect_left(lengths, length)]


def fill_up(array: Array, rows: int, length: int, tensor: Tensor) -> Array:
    """Sequences, flat, each filled up to `length` with the tensor's padding; flat."""
    sequences = array.reshape(rows, -1, *tensor.shape[2:])
    longer = np.full((rows, length, *tensor.shape[2:]), tensor.padding, array.dtype)
    longer[:, : sequences.shape[1]] = sequences
    return longer.reshape(-1)


class Cut:
    """Where in a run each request's own tokens are.

    Args:
        rows: Of each request.
        lengths: Of each request's sequences.
        run_length: What they were filled up to.
    """

    def __init__(self, rows: Sequence[int], lengths: Sequence[int], run_length: int) -> None:
        own = np.repeat(lengths, rows)
        self.edges: list[int] = [0, *np.cumsum(own).tolist()]
        """Where the tokens of each row begin among all, and where the last one's end."""
        self.padding = len(own) * run_length - self.edges[-1]
        """How many tokens the run had more."""
        self._mask = np.arange(run_length) < own[:, np.newaxis] if self.padding else None

    def __call__(self, arrays: Arrays, tensors: Sequence[Tensor]) -> Arrays:
        """The run's arrays without padding: those of sequences (tokens, …), the others as they are."""
        pairs = zip(arrays, tensors, strict=True)
        return tuple([self._tokens(array) if tensor.is_sequence else array for array, tensor in pairs])

    def _tokens(self, array: Array) -> Array:
        tokens: Array = array.reshape(-1, *array.shape[2:]) if self._mask is None else array[self._mask]
        return tokens

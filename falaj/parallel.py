"""Work on several stacks at once."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def side_by_side(work: Callable[[str], T], stacks: Sequence[str]) -> list[T]:
    """What `work` makes of each stack, in their order; a process a processor where there are several.

    Args:
        work: A function of a module, or a partial of one; what it returns and raises can be pickled.
    """
    if len(stacks) < 2:
        return [work(stack) for stack in stacks]
    # A fresh interpreter each: a copy of this one would share its threads' locks.
    context = multiprocessing.get_context("spawn")
    # A process ends before its garbage would matter.
    with ProcessPoolExecutor(min(len(stacks), os.cpu_count() or 1), context, gc.disable) as pool:
        return list(pool.map(work, stacks))

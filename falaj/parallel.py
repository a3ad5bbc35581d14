"""Work on several stacks at once."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_SLOW = ("falaj.cli", "infra.surroundings", "policies.report.page")
"""Modules by which all comes that takes seconds to import."""


def side_by_side(work: Callable[[str], T], stacks: Sequence[str]) -> list[T]:
    """What `work` makes of each stack, in their order; a process a processor where there are several.

    Args:
        work: A function of a module, or a partial of one; what it returns and raises can be pickled.
    """
    if len(stacks) < 2:
        return [work(stack) for stack in stacks]
    # Copies of one that has imported what is slow to import, and has no threads whose locks they would share.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_SLOW))
    # A process ends before its garbage would matter.
    with ProcessPoolExecutor(min(len(stacks), os.cpu_count() or 1), context, gc.disable) as pool:
        return list(pool.map(work, stacks))

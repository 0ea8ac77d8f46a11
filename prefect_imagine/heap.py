"""What the garbage collector need not look at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep what is in memory by now from the garbage collector until the block ends.

    It would go through all that Prefect and boto3 keep there, again and again, while the event loop stands
    still.
    """
    freeze_heap()
    try:
        yield
    finally:
        gc.unfreeze()


def freeze_heap() -> None:
    """Keep from the garbage collector also what has come since, until the block of `frozen_heap` ends.

    What goes meanwhile is gone at once all the same, unless its parts refer to each other: a run makes hardly
    anything of that kind.
    """
    gc.freeze()

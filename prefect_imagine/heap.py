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
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

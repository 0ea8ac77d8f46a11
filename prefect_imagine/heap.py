"""What the garbage collector need not look at."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OLDEST = 2
"""The generation whose collections go through everything."""


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep what is in memory by now from the garbage collector until the block ends, and whatever a full
    collection has found in use since.

    It would go through all that Prefect, boto3 and the run itself keep there, again and again, while the
    event loop stands still.
    """

    def collected(phase: str, told: dict[str, int]) -> None:
        if phase == "stop" and told["generation"] == _OLDEST:
            freeze_heap()

    freeze_heap()
    gc.callbacks.append(collected)
    try:
        yield
    finally:
        gc.callbacks.remove(collected)
        gc.unfreeze()


def freeze_heap() -> None:
    """Keep from the garbage collector also what has come since, until the block of `frozen_heap` ends.

    What goes meanwhile is gone at once all the same, unless its parts refer to each other: a run makes hardly
    anything of that kind.
    """
    gc.freeze()

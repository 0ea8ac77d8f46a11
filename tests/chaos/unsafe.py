"""`python -m tests.chaos.unsafe …`: the command line, with every lost create taken for absent at once.

It pays twice. The test of the chaos tests holds that they find that.
"""

from __future__ import annotations

from prefect_imagine.cli import main
from prefect_imagine.engine.stages.reconcile import Reconciler


async def careless(reconciler: Reconciler) -> None:
    """Believe that what has no answer was not accepted."""
    for attempt in list(reconciler._run.queues.open.values()):
        await reconciler._absent(attempt)


if __name__ == "__main__":
    Reconciler.reconcile = careless  # type: ignore[assignment]
    main()

"""What somebody who watches a run from outside sees of it, such as a progress bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prefect_imagine.billing.usage import ItemCounts, Usage
from prefect_imagine.errors import ImagineError
from prefect_imagine.reports.summary import Summary

if TYPE_CHECKING:
    from prefect_imagine.engine.session import Session


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        running: jobs that it follows.
        credits: what the batch has or may have cost so far.
    """

    counts: ItemCounts
    running: int
    credits: int | float


class Observer(Protocol):
    """Watches one run."""

    def opened(self, session: Session) -> None:
        """The run begins."""

    def closed(self, summary: Summary, usage: Usage) -> None:
        """The run has ended, with its books closed."""

    def failed(self, error: ImagineError) -> None:
        """The run has ended without closing its books."""

"""A slice of a long list of prompts that moves on with time."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.prompts.spool import Asked
from prefect_imagine.providers.models import Frozen

_EPOCH = datetime(1970, 1, 1)


class Rotation(Frozen):
    """Which rows of a long list one run takes: each turn goes on where the one before ended, and after the
    last row comes the first again."""

    take: int = Field(gt=0, description="Rows that one run takes.")
    every_hours: float = Field(
        default=24.0, gt=0, description="Hours of a turn: the schedule's interval, such as 24 or 168."
    )

    def rows(self, count: int, at: datetime) -> list[int]:
        """The rows (from 0, of `count`) whose turn it is at a local time, in order.

        Depends on the time alone, so that a run that is repeated takes the same rows.
        """
        turn = int((at.replace(tzinfo=None) - _EPOCH).total_seconds() // (self.every_hours * 3600))
        return [(turn * self.take + step) % count for step in range(min(self.take, count))]


def rotated(asked: Asked, rotation: Rotation | None, at: datetime) -> Asked:
    """What the rows whose turn it is ask for; without a rotation, everything."""
    if rotation is None:
        return asked
    rows = list(dict.fromkeys(each.row for each in asked))
    turn = [rows[place] for place in rotation.rows(len(rows), at)] if rows else []
    taken: dict[int, list[RequestedItem]] = {row: [] for row in turn}
    for each in asked:
        if each.row in taken:
            taken[each.row].append(each)
    return [each for row in turn for each in taken[row]]

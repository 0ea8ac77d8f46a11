"""Leaving providers out of a run: nothing is created there, and nothing that was created is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from prefect_imagine.batches.state import Phase
from prefect_imagine.engine.planning.difference import Difference
from prefect_imagine.engine.planning.outlook import Candidate, Outlook
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.prompts.spool import Asked


def leave_out(providers: frozenset[str], outlook: Outlook, difference: Difference) -> Difference:
    """What is to be made of a batch where nothing is created at these providers.

    What is new there is not planned, and what is planned is withdrawn; an item whose create is open is
    withdrawn if that turns out not to have been accepted. What has failed stays as it is.
    """
    theirs = [each for each in outlook.candidates if each.provider in providers]
    outlook.forget({each.index for each in theirs if each.phase is Phase.FAILED})
    outlook.candidates = [_without(each, providers) for each in outlook.candidates]
    planned = {each.index for each in theirs if each.phase is Phase.PLANNED and not each.withdrawn}
    undecided = {each.index for each in theirs if each.phase in (Phase.OPEN, Phase.UNKNOWN)}
    new = _Without(difference.new, providers) if len(difference.new) else difference.new
    return replace(
        difference,
        new=new,
        kept=max(0, difference.kept - len(planned - difference.withdrawn)),
        withdrawn=difference.withdrawn | planned,
        gone=difference.gone | planned | undecided,
        restored=difference.restored - {each.index for each in theirs},
    )


def _without(candidate: Candidate, providers: frozenset[str]) -> Candidate:
    """It is not created there either where another provider refuses it."""
    own, *others = candidate.expected
    return replace(
        candidate, expected=(own, *(each for each in others if each.key.provider not in providers))
    )


class _Without:
    """What is asked for, but for some providers: found again each time it is looked through."""

    def __init__(self, asked: Asked, providers: frozenset[str]) -> None:
        self._asked = asked
        self._providers = providers
        self._count = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RequestedItem]:
        kept = (each for each in self._asked if each.request.provider not in self._providers)
        return (replace(each, on_refusal=each.on_refusal.without(self._providers)) for each in kept)

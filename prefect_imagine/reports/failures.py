"""What went wrong with a batch, by reason, with examples."""

from __future__ import annotations

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.costs import item_cost, outcome
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen

EXAMPLES = 3


class FailureLine(Frozen):
    """The items of one provider that failed, or whose fate is unknown, for one reason.

    Attributes:
        charged: credits that they cost all the same, as the provider said.
        examples: a few of them: index and prompt, shortened.
        message: what was said of the first.
    """

    provider: str
    reason: str
    items: int
    charged: Credits
    examples: tuple[str, ...]
    message: str


def failure_lines(plan: Plan, state: BatchState) -> list[FailureLine]:
    """What is not stored and why, the commonest reason first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for item in plan.items:
        known = state[item.index]
        if outcome(known) in ("failed", "unknown"):
            groups.setdefault((item.request.provider, known.reason or "unknown"), []).append(item.index)
    lines = [_line(plan, state, *names, indices) for names, indices in groups.items()]
    return sorted(lines, key=lambda line: -line.items)


def _line(plan: Plan, state: BatchState, provider: str, reason: str, indices: list[int]) -> FailureLine:
    return FailureLine(
        provider=provider,
        reason=reason,
        items=len(indices),
        charged=add_credits(item_cost(plan.item(index), state[index]).charged for index in indices),
        examples=tuple(plan.item(index).title for index in indices[:EXAMPLES]),
        message=state[indices[0]].error or "",
    )

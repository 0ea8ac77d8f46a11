"""`budget set|list|remove`: caps over all batches under a root. They need its store, and neither a Prefect
server nor a key."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Annotated, Any, get_args

from pydantic import ValidationError

from prefect_imagine.batches.index import leave_out
from prefect_imagine.billing.budgets.budget import Budget, remove_budget, set_budget
from prefect_imagine.billing.budgets.counting import count_and_set
from prefect_imagine.billing.budgets.periods import PeriodKind
from prefect_imagine.billing.budgets.standing import BudgetStanding, read_standings, standings_of
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Json, Output, choice, value, values_of
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.redaction import printable
from prefect_imagine.reports.summary import SOME_FAILED
from prefect_imagine.stores import open_store

_AMOUNTS = ("limit", "charged", "estimated", "possible", "reserved", "left")


def set_(
    name: str,
    /,
    *,
    limit: Annotated[tuple[tuple[str, Credits], ...], values_of(values.credits_of, "P=N")] = (),
    period: Annotated[
        PeriodKind, choice("period", get_args(PeriodKind), "WHAT", "when it begins again")
    ] = "month",
    time_zone: Annotated[str, value(values.zone_name, "TZ")] = "UTC",
    label: Annotated[tuple[tuple[str, str], ...], values_of(values.label, "K=V")] = (),
    under: Output = DEFAULT_OUTPUT,
    json: Json = False,
) -> int:
    """Set what all batches under --output together may spend; what was spent in the period counts.

    Args:
        limit: so many credits of a provider in each period.
        time_zone: whose days are meant, such as Europe/Berlin.
        label: count only items with this label; with several, with all of them.
    """
    if len(limit) > len(dict(limit)):
        raise ConfigurationError("--limit names a provider twice")
    if not limit:
        raise ConfigurationError("--limit is missing: give at least one, such as --limit imaginelab=500")
    now = utc_now()
    left_out: dict[str, str] = {}

    def note(batch_id: str, error: StoreError) -> None:
        leave_out(batch_id, error)
        left_out[batch_id] = str(error)
        output.complain(f"batch {batch_id} cannot be read, and is not counted: {error}")

    try:
        budget = Budget(
            name=name,
            limits=dict(limit),
            period=period,
            time_zone=time_zone,
            labels=dict(label),
            set_at=now,
        )
    except ValidationError as error:
        raise ConfigurationError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    with closing(open_store(absolute(under))) as store:
        holdings = count_and_set(store, budget, now, partial(set_budget, store, budget), note)
        lines = list(standings_of(budget, holdings, now))
        address = store.address
    show_budgets(lines, to_stderr=json)
    if json:
        output.print_json(_contract(address, lines, left_out))
    return SOME_FAILED if left_out else 0


def list_(*, under: Output = DEFAULT_OUTPUT, json: Json = False) -> int:
    """What is spent of each budget in its present period, and what is left."""
    with closing(open_store(absolute(under))) as store:
        lines = read_standings(store, utc_now())
        address = store.address
    if lines:
        show_budgets(lines, to_stderr=json)
    else:
        output.say(f"there is no budget under {address}")
    if json:
        output.print_json(_contract(address, lines, {}))
    return 0


def remove(name: str, /, *, under: Output = DEFAULT_OUTPUT, json: Json = False) -> int:
    """Remove a budget. What was counted stays, should it be set again."""
    with closing(open_store(absolute(under))) as store:
        if not remove_budget(store, name):
            raise ConfigurationError(f"there is no budget {name!r} under {store.address}")
        output.say(f"budget {name} is removed: it limits nothing any more")
        if json:
            output.print_json({"output": store.address, "removed": name, "error": None})
    return 0


def show_budgets(lines: Sequence[BudgetStanding], *, to_stderr: bool) -> None:
    cells = [
        (
            printable(line.named),
            line.provider,
            line.period if line.time_zone == "UTC" else f"{line.period} ({line.time_zone})",
            *(getattr(line, name) for name in _AMOUNTS),
            f"{line.used_up_at:%Y-%m-%d}" if line.used_up_at is not None else "",
        )
        for line in lines
    ]
    right = (*_AMOUNTS, "used up")
    output.rows("Budgets", ("budget", "provider", "period"), cells, right=right, to_stderr=to_stderr)


def _contract(address: str, lines: Sequence[BudgetStanding], left_out: dict[str, str]) -> dict[str, Any]:
    return {
        "output": address,
        "budgets": [line.model_dump(mode="json") for line in lines],
        "left_out": [{"batch_id": name, "error": error} for name, error in left_out.items()],
        "error": None,
    }

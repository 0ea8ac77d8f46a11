"""`pause`, `set` and `retry`, and what `resume` tells a run: commands on the store, with who and why. They
need no provider, no key and no Prefect server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_imagine.batches.control.commands import Command, user_name, write_command
from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.fleet.dispatch import in_fleet
from prefect_imagine.batches.lease import running_shards, who_runs
from prefect_imagine.batches.reading import read_journal, read_on
from prefect_imagine.batches.shards import shard_numbers
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.root import read_unsettled
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import split_batch
from prefect_imagine.cli.batch import check_exists
from prefect_imagine.cli.options import (
    DEFAULT_OUTPUT,
    Batch,
    Json,
    Output,
    Providers,
    Why,
    value,
    values_of,
)
from prefect_imagine.clock import Deadline
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.reports.summary import SOME_FAILED
from prefect_imagine.stores import Store, open_store

OBEY_SECONDS = 20.0
"""How long a run is given to say that it has obeyed: it looks for commands every few seconds."""
LOOK_SECONDS = 0.5


def pause(
    batch: Batch,
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    provider: Providers = (),
    why: Why = "",
    json: Json = False,
) -> int:
    """Create nothing more of a batch until it is resumed; what is under way is followed and stored.

    Args:
        provider: only with this one; may be repeated.
    """
    command = Command(kind="pause", providers=provider, by=user_name(), why=why)
    return _command(batch, under, command, json=json)


def set_(
    batch: Batch,
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    max_credits: Annotated[int | float | None, value(values.amount, "N")] = None,
    rate: Annotated[tuple[tuple[str, str], ...], values_of(values.rate, "P=60/10s")] = (),
    provider: Providers = (),
    why: Why = "",
    json: Json = False,
) -> int:
    """Change the limits of a batch while it runs, and for later runs that are given no others.

    Args:
        max_credits: stop creating before this is passed.
        rate: requests to keep below.
        provider: max-credits of this one alone; may be repeated.
    """
    if max_credits is None and not rate:
        raise ConfigurationError("nothing is set: give --max-credits or --rate")
    command = Command(
        kind="set",
        providers=provider,
        max_credits=max_credits,
        rates=dict(rate),
        by=user_name(),
        why=why,
    )
    return _command(batch, under, command, json=json)


def retry(
    batch: Batch,
    items: Annotated[tuple[int, ...], Parameter(help="indices of items, as the report shows them")],
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    recreate_unknown: bool = False,
    why: Why = "",
    json: Json = False,
) -> int:
    """Create single items again that have failed; costs again.

    Args:
        recreate_unknown: also items of unknown fate, which may be paid for twice.
    """
    command = Command(kind="retry", items=items, recreate_unknown=recreate_unknown, by=user_name(), why=why)
    return _command(batch, under, command, json=json)


def go_on_in_place(store: Store, batch_id: str, *, json: bool) -> bool:
    """Let a paused batch go on; whether a run that lives has been told, so that none has to begin."""
    wanted = read_wanted(store, batch_id)
    paused = [each for each in wanted.commands.values() if each.kind == "pause"]
    if not paused or not _is_paused(wanted.commands.values()):
        return False
    number = write_command(store, batch_id, Command(kind="resume", by=user_name()))
    output.say(f"{batch_id}: what was paused {paused[-1].given} goes on")
    told = _tell(store, batch_id, number)
    return (bool(told) and all(told)) or in_fleet(store, batch_id) is not None


def _is_paused(commands: Iterable[Command]) -> bool:
    """Whether anything may be paused still: a later command may have let it go on."""
    last = [each for each in commands if each.kind in ("pause", "resume")]
    return last[-1].kind == "pause" or bool(last[-1].providers)


def _command(batch: str, under: str, command: Command, *, json: bool) -> int:
    root, batch_id = split_batch(batch, under)
    with closing(open_store(root)) as store:
        check_exists(store, batch_id)
        if command.items:
            _check_again(store, batch_id, command.items, recreate_unknown=command.recreate_unknown)
        number = write_command(store, batch_id, command)
        told = _tell(store, batch_id, number)
        fleet = not told and in_fleet(store, batch_id) is not None
    running, obeyed = bool(told), bool(told) and all(told)
    output.say(f"{batch_id}: {_said(command, batch_id, runs=running, obeyed=obeyed, fleet=fleet)}")
    if json:
        said: dict[str, Any] = {
            "batch_id": batch_id,
            "command": number,
            "kind": command.kind,
            "running": running,
            "obeyed": obeyed,
            "error": None,
        }
        output.print_json(said)
    return SOME_FAILED if running and not obeyed else 0


def _said(command: Command, batch_id: str, *, runs: bool, obeyed: bool, fleet: bool) -> str:
    if obeyed:
        return f"the run has obeyed ({command.kind})"
    if runs:
        return (
            f"{command.kind} is written down, but the run has not said within {OBEY_SECONDS:.0f} s that it "
            "obeys: its store may be slow, or it is of an earlier version"
        )
    if fleet:
        return f"no worker runs a shard of it now: its fleet's next runs begin so ({command.kind})"
    if command.kind == "retry":
        return f"nobody runs it: prefect-imagine resume {batch_id} creates {len(command.items)} items again"
    return f"nobody runs it: its next run begins so ({command.kind})"


def _check_again(store: Store, batch_id: str, items: Iterable[int], *, recreate_unknown: bool) -> None:
    """Raise `ConfigurationError` for an item that is not to be created again."""
    wanted = set(items)
    for index, state in _standing(store, batch_id, wanted):
        wanted.discard(index)
        if state.phase is Phase.UNKNOWN and not recreate_unknown:
            raise ConfigurationError(
                f"item {index} is of unknown fate, and may be paid for twice: say so with --recreate-unknown"
            )
        if state.phase not in (Phase.FAILED, Phase.UNKNOWN):
            raise ConfigurationError(f"item {index} has not failed: it is {state.phase}")
    if wanted:
        raise ConfigurationError(f"batch {batch_id!r} has no item {min(wanted)}")


def _standing(store: Store, batch_id: str, items: set[int]) -> Iterator[tuple[int, ItemState]]:
    for number in shard_numbers(store, batch_id):
        shard = read_unsettled(store, batch_id, number)
        if shard is not None:
            for index in items.intersection(shard.plan.indices):
                yield index, shard.state[index]


def _tell(store: Store, batch_id: str, number: int) -> list[bool]:
    """Wait until all who run a batch have written down that they have obeyed; whether each of them has.
    Whoever ends meanwhile runs it no longer."""
    deadline = Deadline(OBEY_SECONDS)
    found = ((path, _is_obeyed(store, path, number, deadline)) for path in running_shards(store, batch_id))
    return [obeyed for path, obeyed in found if obeyed or who_runs(store, path) is not None]


def _is_obeyed(store: Store, path: str, number: int, deadline: Deadline) -> bool:
    reading = read_journal(store, path)
    while number not in reading.state.obeyed and not deadline.passed:
        time.sleep(LOOK_SECONDS)
        read_on(store, path, reading)
    return number in reading.state.obeyed

"""`status`: where batches stand, and a view of one that is being run, from the store alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.fleet.dispatch import Dispatch, in_fleet, shards_to_come
from prefect_imagine.batches.lease import Runner, who_runs
from prefect_imagine.batches.reading import possible_batches
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.root import Unsettled, books_of
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute, split_batch
from prefect_imagine.cli.batch import check_exists
from prefect_imagine.cli.ending import show_failures, what_next
from prefect_imagine.cli.options import DEFAULT_OUTPUT, BatchOrAll, Json, Output, value
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.reports.durations import duration_text
from prefect_imagine.reports.overview import Follower, Overview
from prefect_imagine.reports.position import Position
from prefect_imagine.reports.summary import RequestCounts, Summary, summarize
from prefect_imagine.stores import Store, open_store

READERS = 8
WATCH_SECONDS = 2.0
MOST_COMMANDS = 10
"""The last commands are shown."""
BEGIN_SECONDS = 45.0
"""How long a batch that nobody runs is watched for somebody to begin."""
FLEET_SECONDS = 900.0
"""The same of one that a fleet has: the runs of its shards may wait for a worker."""


def status(
    batch: BatchOrAll = None,
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    json: Json = False,
    watch: Annotated[
        bool | float, value(values.refresh, "[SECONDS]"), Parameter(show_default=f"{WATCH_SECONDS:g}")
    ] = False,
) -> Summary | int:
    """Where a batch stands, from its store alone.

    Args:
        watch: follow the batch until it has ended; look every so many seconds.
    """
    if batch is None:
        if watch:
            raise ConfigurationError("--watch follows one batch: name it")
        return _list(absolute(under), as_json=json)
    root, batch_id = split_batch(batch, under)
    every = WATCH_SECONDS if watch is True else watch
    with closing(open_store(root)) as store:
        check_exists(store, batch_id)
        follower = Follower(store, batch_id)
        try:
            looks = _looks(follower, lambda: in_fleet(store, batch_id) is not None, every)
            seen = _watch(looks, batch_id, to_stderr=json) if every else next(looks)
            position = follower.position()
        except StoreError as error:
            raise ConfigurationError(str(error)) from error
        summary, usage = position.summary(store.address)
        output.show_usage(usage, summary, to_stderr=json)
        fleet = in_fleet(store, batch_id)
        pool = None if fleet is None else fleet.pool
        _show(position, seen, batch_id, root, pool=pool, to_stderr=json)
        if fleet is not None:
            text = _fleet_text(fleet, shards_to_come(store, fleet), running=bool(seen.runners))
            output.line(text, to_stderr=json)
        for told in read_wanted(store, batch_id).told[-MOST_COMMANDS:]:
            output.line(f"told: {told}", to_stderr=json)
        return summary


def _fleet_text(fleet: Dispatch, to_come: Sequence[int], *, running: bool) -> str:
    shards = len(fleet.shards)
    at = f"{fleet.at.astimezone():%Y-%m-%d %H:%M:%S}"
    ended = f"on pool {fleet.pool} since {at}: {shards - len(to_come)} of {shards} shards have ended"
    gone = f"where its runs are gone, `resume {fleet.batch_id}` goes on without"
    return ended if running else f"{ended}; {gone}"


def _watch(looks: Iterator[Overview], batch_id: str, *, to_stderr: bool) -> Overview:
    """Show a batch until nothing is left to do or nobody does it; gives the last that was seen."""
    console = output.console(to_stderr=to_stderr)
    if not console.file.isatty():
        shown = None
        for seen in looks:
            if seen.counts != shown:
                output.line(f"{datetime.now():%H:%M:%S} {_progress(seen)}", to_stderr=to_stderr)
                shown = seen.counts
        return seen
    with Live(console=console, transient=True) as live:
        for seen in looks:
            live.update(_view(batch_id, seen))
    return seen


def _looks(follower: Follower, has_fleet: Callable[[], bool], seconds: float) -> Iterator[Overview]:
    quiet_since = boot_seconds()
    patience = BEGIN_SECONDS  # a run that was started just now may still be loading
    while True:
        fleet = has_fleet()
        seen = follower.look(fleet=fleet)
        yield seen
        if seen.runners:
            quiet_since, patience = boot_seconds(), 0.0
        quiet = boot_seconds() - quiet_since
        left = not seen.runners and quiet >= (FLEET_SECONDS if fleet else patience)
        if left or not seen.counts.unfinished:
            return
        time.sleep(seconds)


def _view(batch_id: str, seen: Overview) -> Group:
    counts = seen.counts
    bar = ProgressBar(total=counts.total, completed=counts.stored, width=60)
    return Group(Text(f"Batch {batch_id}", style="bold"), Text(_who(seen)), bar, Text(_progress(seen)))


def _show(
    position: Position, seen: Overview, batch_id: str, root: str, *, pool: str | None, to_stderr: bool
) -> None:
    """What the bill does not tell: who runs the batch, what is under way, and why items failed. `pool`: it is
    in the hands of a fleet."""
    if seen.runners or seen.counts.unfinished:
        waits = not seen.runners and pool is not None
        who = f"no worker of pool {pool} runs a shard of it now" if waits else _who(seen)
        output.line("; ".join([who, *_work(seen)]), to_stderr=to_stderr)
    show_failures(position, to_stderr=to_stderr)
    if not seen.runners and pool is None:
        for line in what_next(position, batch_id, root):
            output.line(line, to_stderr=to_stderr)


def _who(seen: Overview) -> str:
    if not seen.runners:
        return "nobody runs it"
    since = "" if seen.since is None else f" since {seen.since.astimezone():%Y-%m-%d %H:%M:%S}"
    hosts = ", ".join(dict.fromkeys(each.host for each in seen.runners))
    several = len(seen.runners) > 1
    who = f"{len(seen.runners)} processes" if several else f"process {seen.runners[0].pid}"
    renewed = max(each.renewed for each in seen.runners)
    return f"run by {who} on {hosts}{since} (seen {renewed:.0f} s ago)"


def _progress(seen: Overview) -> str:
    return "; ".join([f"{seen.counts.stored} of {seen.counts.total} stored", *_work(seen)])


def _work(seen: Overview) -> list[str]:
    """What is not stored by where it is, and while somebody works at it, how fast that goes and how long."""
    counts = seen.counts
    places = {
        "under way": counts.under_way - seen.open,
        "open": seen.open,
        "planned": counts.planned,
        "failed": counts.failed,
        "unknown": counts.unknown,
        "withdrawn": counts.withdrawn,
    }
    said = [", ".join(f"{number} {place}" for place, number in places.items() if number)]
    if seen.since is not None and counts.unfinished:
        rate = seen.creates_per_minute
        said.append(f"{rate:,.0f} creates a minute" if rate >= 1000 else f"{rate:.3g} creates a minute")
    if seen.seconds_left is not None and counts.unfinished:
        said.append(f"about {duration_text(round(seen.seconds_left))} left")
    return [each for each in said if each]


@dataclass(frozen=True)
class _Listed:
    """One batch of a root; without a bill where it cannot be read."""

    batch_id: str
    summary: Summary | None = None
    usage: Usage | None = None
    runner: Runner | None = None
    error: str | None = None


def _list(root: str, *, as_json: bool) -> int:
    with closing(open_store(root)) as store:
        try:
            with ThreadPoolExecutor(READERS) as readers:
                found = readers.map(lambda batch_id: _read(store, batch_id), possible_batches(store))
                listed = [each for each in found if each is not None]
        except StoreError as error:
            raise ConfigurationError(str(error)) from error
        if as_json:
            batches = [_as_json(each) for each in listed]
            output.print_json({"output": store.address, "batches": batches, "error": None})
        else:
            _show_list(listed, store.address)
    return 0


def _read(store: Store, batch_id: str) -> _Listed | None:
    """A batch; `None` for a folder that is none."""
    try:
        bills: list[Bill] = []
        runner = None
        for books in books_of(store, batch_id):
            bills.append(books.bill)
            if isinstance(books, Unsettled):
                runner = runner or who_runs(store, books.plan.path)
        if not bills:
            return None
        usage = Bill.total(batch_id, bills).usage(utc_now())
        return _Listed(batch_id, summarize(usage, store.address, RequestCounts(), ()), usage, runner)
    except (ConfigurationError, StoreError) as error:
        return _Listed(batch_id, error=str(error))


def _show_list(listed: list[_Listed], address: str) -> None:
    cells = [
        (
            bill.batch_id,
            bill.items,
            bill.stored,
            bill.failed,
            bill.unknown,
            bill.under_way,
            output.credits_told(bill, bill.unpriced_items),
            "running" if each.runner else "",
        )
        for each in listed
        if (bill := each.usage) is not None
    ]
    columns = ("items", "stored", "failed", "unknown", "under way", "credits", "")
    output.rows(f"Batches under {address}", ("batch",), cells, right=columns)
    for each in listed:
        if each.error is not None:
            output.complain(each.error)


def _as_json(each: _Listed) -> dict[str, object]:
    """A batch of the list: what the contract's object says of a batch, and not of a run."""
    said: dict[str, object] = {"batch_id": each.batch_id}
    if each.summary is not None:
        known = output.contract(each.summary)
        said |= {name: known[name] for name in ("items", "credits", "unpriced_items")}
    return {**said, "running": each.runner is not None, "error": each.error}

"""From prompts or a batch id to a plan with clients: what happens before a run may spend anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from prefect_imagine.batches.accounts.record import believed
from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.origin import Origin, read_origin
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.batches.state import BatchState, ItemState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.budgets.budget import Budget, read_budgets
from prefect_imagine.billing.budgets.left_behind import open_holders
from prefect_imagine.billing.credit_limit import Share, whole
from prefect_imagine.billing.estimates import EstimateLine, Estimates, expected_credits, expected_of
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.accounts import (
    Accounts,
    Connect,
    Shared,
    prices_of,
    reached,
    webhook_urls_of,
)
from prefect_imagine.engine.planning.again import Again
from prefect_imagine.engine.planning.amending import allowed, visited
from prefect_imagine.engine.planning.difference import UNCHANGED, Difference
from prefect_imagine.engine.planning.left_out import leave_out
from prefect_imagine.engine.planning.outlook import Candidate, KnownShard, Outlook, read_outlook
from prefect_imagine.engine.planning.plans import (
    NewPlans,
    check_budgeted,
    check_priced,
    shard_size_for,
    unpriced,
)
from prefect_imagine.engine.planning.preflight import (
    check_requests,
)
from prefect_imagine.engine.planning.refusals import or_problems
from prefect_imagine.engine.traffic import Traffic
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.spool import Asked, providers_of
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.reports.position import Position
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

STORE_SECONDS = 10.0
"""How long the store may fail before anything is spent."""
EXAMPLES = 5
"""Prompts by which a person recognises what is going to be created."""


@dataclass(frozen=True)
class Part:
    """One shard of a batch of which others run the rest.

    Attributes:
        shard: its number.
        share: what it may cost, where the batch may cost so much.
        commands_seen: the last command that was given before the batch was handed to all of them.
    """

    shard: int
    share: Share
    commands_seen: int


@dataclass(frozen=True)
class PreparedBatch:
    """A batch that may be run.

    Attributes:
        shards: as they stand, those that are to be written at the end.
        position: where the batch stands, those included.
        difference: what is asked for, beside what the batch held; nothing where that was not compared.
        plans: of the shards that are to be written.
        new: what those create, by provider, kind and model.
        expected: what a run may create, by provider, kind and model.
        creatable: those of it that are planned, or may be created again.
        examples: some of that.
        again: what of it has been created before.
        seen: where those items stand.
        clients: of the providers that still have something to do.
        identities: of their accounts.
        traffic: counts what is sent with these.
        source: of what is asked for, path or address.
        interrupted: whether its first planning was interrupted, and goes on with this.
        wait: whether another process that runs the batch is waited for.
        holds: whether somebody who has died holds credits of a budget for it.
        without: providers at which nothing is created.
        commands_seen: the last command that was given before this.
        part: the one shard that this is about, where others run the rest.
    """

    batch_id: str
    shards: tuple[KnownShard, ...]
    position: Position
    difference: Difference = UNCHANGED
    plans: NewPlans | None = None
    new: tuple[EstimateLine, ...] = ()
    expected: tuple[EstimateLine, ...] = ()
    creatable: tuple[Candidate, ...] = ()
    examples: tuple[str, ...] = ()
    again: tuple[EstimateLine, ...] = ()
    seen: Mapping[int, ItemState] = field(default_factory=dict)
    clients: Mapping[str, ProviderClient] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=lambda: Traffic({}, {}))
    balances: Mapping[str, Balance] = field(default_factory=dict)
    source: str | None = None
    interrupted: bool = False
    wait: bool = False
    holds: bool = False
    without: frozenset[str] = frozenset()
    commands_seen: int | None = None
    part: Part | None = None

    @property
    def share(self) -> Share:
        """What a run may spend of what the batch may cost."""
        return whole if self.part is None else self.part.share

    @property
    def fresh(self) -> bool:
        """Whether nothing of the batch is written yet."""
        return self.plans is not None and len(self.plans) == len(self.shards)

    @property
    def settled(self) -> bool:
        """Whether running it would change nothing."""
        changed = self.plans is not None or any(shard.changes for shard in self.shards)
        return not (self.clients or self.interrupted or changed or self.holds)


@asynccontextmanager
async def prepare_batch(
    store: Store,
    batch_id: str,
    asked: Asked | None,
    accounts: Accounts,
    options: BatchOptions,
    shared: Shared = lambda account: None,
    *,
    source: str | None = None,
    amend: bool = True,
    keep: bool = False,
    without: Collection[str] = (),
    creates: bool = True,
    part: Part | None = None,
    workers: int = 1,
    connect: Connect = reached,
    now: Callable[[], datetime] = utc_now,
) -> AsyncIterator[PreparedBatch]:
    """Compare a batch with what is asked for, plan what is new of it, and open the clients that it needs.

    Spends nothing and writes nothing: `persist_plan` writes new plans.

    Args:
        asked: `None` to go on with the batch as it is.
        shared: finds the limit that an account's key shares with other machines, if any.
        source: path or address of what is asked for.
        amend: whether a batch that was made from another source is amended too.
        keep: whether a batch that exists stays as it was planned, whatever is asked for by now.
        without: providers at which nothing is created: what is planned there is withdrawn, and what was
            created is followed.
        creates: whether a run is going to create anything, and needs the providers that others' refusals
            fall back to.
        part: one shard alone, as it was planned.
        workers: how many share what is new: it is divided among them.
        connect: opens accounts, in place of `reached`.
        now: the clock by which the present period of a budget is known.

    Raises:
        ConfigurationError: what is wrong with prompts, keys, prices or addresses, or the store cannot be
            read.
    """
    shard = None if part is None else part.shard
    read = await _read(store, batch_id, options, now(), compare=asked is not None, only=shard)
    outlook, origin, budgets, holders, seen = read
    held = [each.number for each in outlook.shards if shard_path(batch_id, each.number) in holders]
    interrupted = part is None and origin is not None and outlook.items < origin.items
    compared = asked is not None and (interrupted or not keep)
    if interrupted and asked is None:
        logger.warning(
            "batch %s holds %d of %d items: its planning was interrupted; run it with its prompts again",
            batch_id,
            outlook.items,
            origin.items if origin is not None else 0,
        )
    if not outlook.exists and asked is None:
        raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")
    difference = UNCHANGED
    if asked is not None and (compared or not outlook.exists):
        difference = await asyncio.to_thread(outlook.holdings.difference, asked)
    if without:
        difference = await asyncio.to_thread(leave_out, frozenset(without), outlook, difference)
    if outlook.exists and compared:
        frozen = options.frozen and not interrupted
        difference = allowed(difference, outlook, origin, source, amend=amend, frozen=frozen)
    if options.on_refusal and difference.kept:
        logger.info(
            "batch %s: on_refusal holds for what is planned from now on: %d items keep theirs",
            batch_id,
            difference.kept,
        )
    creatable = list(outlook.creatable(difference))
    followed = chain.from_iterable(outlook.followed.values())
    providers = dict.fromkeys([*(each.provider for each in creatable), *followed])
    if creates:
        later = {name for each in creatable for name in each.providers} | outlook.may_follow
        providers |= dict.fromkeys(sorted(later.difference(without)))
    providers |= dict.fromkeys(await asyncio.to_thread(providers_of, difference.new))
    found_by = or_problems(difference.new, accounts, options) if len(difference.new) else accounts
    clients_of = connect(list(providers), found_by, options, shared, models=bool(len(difference.new)))
    async with clients_of as those:
        if creatable or len(difference.new):
            for name, url in webhook_urls_of(those.accounts, batch_id, options).items():
                those.clients[name].webhook_url = url
        problems = Problems()
        await asyncio.to_thread(check_requests, difference.new, those.clients, those.inspection, problems)
        problems.check()
        prices = prices_of(those.accounts, options)
        size = shard_size_for(len(difference.new), workers, options.shard_size)
        plans = NewPlans(outlook, difference.new, those.clients, those.inspection, prices, size)
        added = await asyncio.to_thread(_add, outlook, plans, budgets)
        following = outlook.unpriced if creates else []
        check_priced(outlook, creatable, chain(added.unpriced, (name for name, _ in following)), options)
        silent = [(name, each.labels) for each in creatable for name in unpriced(each.expected)]
        for provider, labels in (*silent, *following):
            check_budgeted(budgets, provider, labels)
        identities = {name: account.identity for name, account in those.accounts.items()}
        yield PreparedBatch(
            batch_id=batch_id,
            shards=(*visited(outlook, creatable, difference, held), *added.shards),
            position=outlook.positions.result,
            difference=difference,
            plans=plans if len(plans) else None,
            new=tuple(added.estimates.lines),
            expected=tuple(added.estimates.beside(_estimated(creatable)).lines),
            creatable=tuple(creatable),
            examples=tuple([*(each.title for each in creatable), *added.titles][:EXAMPLES]),
            again=tuple(_estimated(each for each in creatable if each.again).lines),
            seen=outlook.seen,
            clients=those.clients,
            identities=identities,
            traffic=those.traffic,
            balances=await _believed(store, identities, those.inspection.balances),
            source=source,
            interrupted=interrupted and asked is not None,
            wait=options.wait,
            holds=bool(held),
            without=frozenset(without),
            commands_seen=seen if part is None else part.commands_seen,
            part=part,
        )


async def _read(
    store: Store, batch_id: str, options: BatchOptions, now: datetime, *, compare: bool, only: int | None
) -> tuple[Outlook, Origin | None, tuple[Budget, ...], frozenset[str], int]:
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        wanted = await blocking(read_wanted, store, batch_id)
        again = Again(options, wanted.again())
        outlook = await blocking(read_outlook, store, batch_id, again, compare=compare, only=only)
        origin = await blocking(read_origin, store, batch_id) if outlook.exists else None
        budgets = await blocking(read_budgets, store)
        holders = await blocking(open_holders, store, budgets, now)
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error
    finally:
        await blocking.aclose()
    return outlook, origin, budgets, holders, wanted.last


async def _believed(
    store: Store, identities: Mapping[str, str], balances: Mapping[str, Balance]
) -> dict[str, Balance]:
    """The balances but for those of 0 that may be what a key is told that cannot see any."""
    return {
        name: each
        for name, each in balances.items()
        if await asyncio.to_thread(believed, store, identities[name], each.credits)
    }


@dataclass
class _Added:
    """What new shards add to a batch."""

    shards: list[KnownShard] = field(default_factory=list)
    estimates: Estimates = field(default_factory=Estimates)
    titles: list[str] = field(default_factory=list)
    unpriced: set[str] = field(default_factory=set)


def _add(outlook: Outlook, plans: NewPlans, budgets: Sequence[Budget]) -> _Added:
    """Take new shards in, one after the other. Raises `ConfigurationError` for an item that a budget counts
    and that has no price."""
    added = _Added()
    for plan in plans:
        bill = Bill.of(plan, BatchState())
        outlook.positions.take(Shard(plan, BatchState()), bill)
        added.titles += [item.title for item in plan.items[: EXAMPLES - len(added.titles)]]
        creates = []
        for item in plan.items:
            expected = expected_of(item)
            creates.append(expected[0])
            added.estimates.add(expected)
            for provider in unpriced(expected):
                added.unpriced.add(provider)
                check_budgeted(budgets, provider, item.request.labels)
        costs = expected_credits(creates)
        added.shards.append(
            KnownShard(
                plan.shard,
                plan.indices,
                bill,
                planned_at=plan.planned_at,
                asked=plan.asked,
                expected=costs,
            )
        )
    return added


def _estimated(candidates: Iterable[Candidate]) -> Estimates:
    estimates = Estimates()
    for each in candidates:
        estimates.add(each.expected)
    return estimates

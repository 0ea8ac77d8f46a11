"""From prompts or a batch id to a plan with clients: what happens before a run may spend anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.lease import Lease
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.origin import Origin, read_origin, write_origin
from prefect_imagine.batches.plan import Plan, read_plan, write_plan
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import FIRST, shard_path
from prefect_imagine.batches.state import BatchState, ItemState
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.estimates import EstimateLine, Estimates, estimate_key
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.difference import UNCHANGED, Difference
from prefect_imagine.engine.planning.outlook import Candidate, KnownShard, Outlook, read_outlook
from prefect_imagine.engine.planning.plans import check_priced, make_plans
from prefect_imagine.engine.planning.preflight import (
    Inspection,
    check_requests,
    check_unasked,
    inspect,
)
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.limits.pacing import SharedLimit
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.models import Balance
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client
from prefect_imagine.providers.spec import Account
from prefect_imagine.providers.transport.connections import Timeouts
from prefect_imagine.reports.position import Position
from prefect_imagine.stores import Store

STORE_SECONDS = 10.0
"""How long the store may fail before anything is spent."""
EXAMPLES = 5
"""Prompts by which a person recognises what is going to be created."""

Accounts = Callable[[Sequence[str]], Awaitable[Mapping[str, Account]]]
"""Finds the accounts of some providers. Raises `ConfigurationError` with everything that is missing."""


def accounts_by(find: Callable[[str], Awaitable[Account]]) -> Accounts:
    """Finds accounts one by one; what is missing of all of them is one `ConfigurationError`."""

    async def find_all(providers: Sequence[str]) -> Mapping[str, Account]:
        found: dict[str, Account] = {}
        missing: list[str] = []
        for provider in providers:
            try:
                found[provider] = await find(provider)
            except ConfigurationError as error:
                missing.append(str(error))
        if missing:
            raise ConfigurationError("\n".join(missing))
        return found

    return find_all


Shared = Callable[[Account], SharedLimit | None]
"""Finds the limit that an account's key shares with other machines, if any."""


@dataclass(frozen=True)
class PreparedBatch:
    """A batch that may be run.

    Attributes:
        shards: as they stand, those that exist only in memory yet at the end.
        position: where the batch stands, those included.
        difference: what is asked for, beside what the batch held; nothing where that was not compared.
        plans: of the shards that exist only in memory yet.
        expected: what a run may create, by provider, kind and model.
        examples: some of that.
        again: what of it has been created before.
        seen: where those items stand.
        clients: of the providers that still have something to do.
        source: of what is asked for, path or address.
        wait: whether another process that runs the batch is waited for.
    """

    batch_id: str
    shards: tuple[KnownShard, ...]
    position: Position
    difference: Difference = UNCHANGED
    plans: tuple[Plan, ...] = ()
    expected: tuple[EstimateLine, ...] = ()
    examples: tuple[str, ...] = ()
    again: tuple[EstimateLine, ...] = ()
    seen: Mapping[int, ItemState] = field(default_factory=dict)
    clients: Mapping[str, ProviderClient] = field(default_factory=dict)
    balances: Mapping[str, Balance] = field(default_factory=dict)
    source: str | None = None
    wait: bool = False

    @property
    def fresh(self) -> bool:
        """Whether the whole batch exists only in memory yet."""
        return len(self.plans) == len(self.shards)

    @property
    def settled(self) -> bool:
        """Whether running it would change nothing."""
        return not (self.clients or self.plans or any(shard.changes for shard in self.shards))


@asynccontextmanager
async def prepare_batch(
    store: Store,
    batch_id: str,
    asked: Sequence[RequestedItem] | None,
    accounts: Accounts,
    options: BatchOptions,
    shared: Shared = lambda account: None,
    *,
    source: str | None = None,
    amend: bool = True,
) -> AsyncIterator[PreparedBatch]:
    """Compare a batch with what is asked for, plan what is new of it, and open the clients that it needs.

    Spends nothing and writes nothing: `persist_plan` writes new plans.

    Args:
        asked: `None` to go on with the batch as it is.
        shared: finds the limit that an account's key shares with other machines, if any.
        source: path or address of what is asked for.
        amend: whether a batch that was made from another source is amended too.

    Raises:
        ConfigurationError: what is wrong with prompts, keys, prices or addresses, or the store cannot be
            read.
    """
    # Only a batch that was named can be meant for something else: a flow run's own is what it planned first.
    named = options.batch_id is not None
    compared = asked is not None and named
    outlook, origin = await _read(store, batch_id, options, compare=compared)
    if not outlook.exists and asked is None:
        raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")
    difference = UNCHANGED
    if asked is not None and (named or not outlook.exists):
        difference = outlook.holdings.difference(asked)
    if outlook.exists and compared:
        difference = _allowed(difference, outlook, origin, options, source, amend=amend)
    creatable = list(outlook.creatable(options, difference))
    followed = chain.from_iterable(outlook.followed.values())
    providers = dict.fromkeys([*(each.key[0] for each in creatable), *followed])
    providers |= dict.fromkeys(_asked_providers(difference.new))
    found_by = _or_problems(difference.new, accounts, options) if difference.new else accounts
    reached = _reached(list(providers), found_by, options, shared, models=bool(difference.new))
    async with reached as (found, clients, inspection):
        plans = make_plans(outlook, difference.new, clients, inspection, options, _prices(found, options))
        check_priced(outlook, creatable, plans, options)
        shards = _visited(outlook, creatable, difference, plans)
        expected, examples, again = _estimated(creatable, plans, options)
        yield PreparedBatch(
            batch_id=batch_id,
            shards=tuple(shards),
            position=_position(outlook, plans),
            difference=difference,
            plans=tuple(plans),
            expected=tuple(expected.lines),
            examples=tuple(examples),
            again=tuple(again.lines),
            seen=outlook.seen,
            clients=clients,
            balances=inspection.balances,
            source=source,
            wait=options.wait,
        )


async def _read(
    store: Store, batch_id: str, options: BatchOptions, *, compare: bool
) -> tuple[Outlook, Origin | None]:
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        outlook = await blocking(read_outlook, store, batch_id, options, compare=compare)
        origin = await blocking(read_origin, store, batch_id) if outlook.exists and compare else None
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error
    finally:
        await blocking.aclose()
    return outlook, origin


def _allowed(
    difference: Difference,
    outlook: Outlook,
    origin: Origin | None,
    options: BatchOptions,
    source: str | None,
    *,
    amend: bool,
) -> Difference:
    """What is to be made of a difference. Raises `ConfigurationError` where the batch must not be amended."""
    if options.frozen and not difference.same:
        raise ConfigurationError(
            f"batch {outlook.batch_id!r} exists with other prompts ({outlook.items} items): choose another "
            "batch id, start a new batch, or let it be amended"
        )
    foreign = origin is not None and origin.source is not None and source not in (None, origin.source)
    if amend or not foreign or origin is None:
        return difference
    if difference.new:
        raise ConfigurationError(
            f"batch {outlook.batch_id!r} was made from {origin.source} and lacks {len(difference.new)} of "
            "these prompts: choose another one with --batch-id, or make it hold these instead with --amend"
        )
    return Difference(kept=difference.kept)


def _visited(
    outlook: Outlook, creatable: Sequence[Candidate], difference: Difference, plans: Sequence[Plan]
) -> Iterator[KnownShard]:
    """The shards with what a run has to do with each."""
    wanted = {each.index for each in creatable}
    changed = difference.withdrawn | difference.restored
    for shard in outlook.shards:
        changes = not changed.isdisjoint(shard.indices)
        visit = changes or shard.number in outlook.followed or not wanted.isdisjoint(shard.indices)
        yield replace(shard, visit=visit, changes=changes)
    for plan in plans:
        yield KnownShard(plan.shard, plan.indices, Bill.of(plan, BatchState()))


def _position(outlook: Outlook, plans: Sequence[Plan]) -> Position:
    for plan in plans:
        outlook.positions.take(Shard(plan, BatchState()), Bill.of(plan, BatchState()))
    return outlook.positions.result


def _estimated(
    creatable: Sequence[Candidate], plans: Sequence[Plan], options: BatchOptions
) -> tuple[Estimates, list[str], Estimates]:
    """What may be created, some of it, and what of it has been created before."""
    expected, again = Estimates(), Estimates()
    for each in creatable:
        expected.add(each.key, each.credits)
        if options.creates_again(each.phase):
            again.add(each.key, each.credits)
    new = chain.from_iterable(plan.items for plan in plans)
    titles = [each.title for each in creatable[:EXAMPLES]]
    titles += [item.title for item in islice(new, EXAMPLES - len(titles))]
    for item in chain.from_iterable(plan.items for plan in plans):
        expected.add(estimate_key(item.request, item.estimate), item.estimate.credits)
    return expected, titles, again


async def raise_problems(
    asked: Sequence[RequestedItem], accounts: Accounts, options: BatchOptions, problems: Problems
) -> None:
    """Raise `InvalidPromptsError` with these problems of a prompts file, and with what the providers would
    refuse of those prompts that could be read, as far as they can be asked."""
    await _note_refused(asked, accounts, options, problems)
    problems.check()


async def _note_refused(
    asked: Sequence[RequestedItem], accounts: Accounts, options: BatchOptions, problems: Problems
) -> None:
    async def ask(provider: str) -> None:
        own = [each for each in asked if each.request.provider == provider]
        try:
            async with _reached([provider], accounts, options, models=True) as (_, clients, inspection):
                check_requests(own, clients, inspection, problems)
        except ConfigurationError as error:
            problems.add(str(error))
            check_unasked(provider, own, problems)

    await asyncio.gather(*map(ask, _asked_providers(asked)))


def _or_problems(asked: Sequence[RequestedItem], accounts: Accounts, options: BatchOptions) -> Accounts:
    """Finds accounts; where one is missing, tells with it whatever else is wrong with the prompts."""

    async def find(providers: Sequence[str]) -> Mapping[str, Account]:
        try:
            return await accounts(providers)
        except ConfigurationError:
            problems = Problems()
            await _note_refused(asked, accounts, options, problems)
            if any(each.row is not None for each in problems.found):
                problems.check()
            raise

    return find


async def persist_plan(store: Store, prepared: PreparedBatch) -> PreparedBatch:
    """Write the plans of new shards, after making sure that the store takes what is going to be paid for.

    Raises:
        BatchBusyError: another process runs the batch that is to be amended.
        ConfigurationError: the store cannot be written, or another process plans something else.
    """
    if prepared.settled:
        return prepared
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        await blocking(store.check_writable)
        if prepared.plans:
            async with _amending(store, blocking, prepared):
                await blocking(write_origin, store, _origin(prepared))
                for plan in prepared.plans:
                    await _persist(store, blocking, plan)
        return prepared
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error
    finally:
        await blocking.aclose()


@asynccontextmanager
async def _amending(store: Store, blocking: Blocking, prepared: PreparedBatch) -> AsyncIterator[None]:
    """Nobody else runs the batch for as long as the context lasts."""
    running = next((shard for shard in prepared.shards if shard.settled is None), None)
    if prepared.fresh or running is None:
        yield
        return
    lease = Lease(store, blocking, shard_path(prepared.batch_id, running.number), ProcessIdentity.me())
    await lease.take(wait=prepared.wait)
    try:
        yield
    finally:
        await lease.release()


def _origin(prepared: PreparedBatch) -> Origin:
    return Origin(batch_id=prepared.batch_id, source=prepared.source, created=utc_now())


async def _persist(store: Store, blocking: Blocking, plan: Plan) -> None:
    if await blocking(write_plan, store, plan):
        return
    # Somebody planned the same shard in this moment: theirs stands, with the seeds that they drew.
    known = await blocking(read_plan, store, plan.batch_id, plan.shard)
    if known is None or known.asked != plan.asked:
        what = "made" if plan.shard == FIRST else "amended"
        raise ConfigurationError(
            f"batch {plan.batch_id!r} has just been {what} with other prompts: run this again"
        )


@asynccontextmanager
async def _reached(
    providers: Sequence[str],
    accounts: Accounts,
    options: BatchOptions,
    shared: Shared = lambda account: None,
    *,
    models: bool,
) -> AsyncIterator[tuple[Mapping[str, Account], Mapping[str, ProviderClient], Inspection]]:
    found = {name: _tuned(each, options) for name, each in (await accounts(providers)).items()}
    async with AsyncExitStack() as stack:
        clients: dict[str, ProviderClient] = {}
        for name, account in found.items():
            clients[name] = open_client(account, shared=shared(account))
            stack.push_async_callback(clients[name].aclose)
        yield found, clients, await inspect(clients, models=models) if clients else Inspection()


def _asked_providers(asked: Sequence[RequestedItem]) -> list[str]:
    return list(dict.fromkeys(each.request.provider for each in asked))


def _tuned(account: Account, options: BatchOptions) -> Account:
    rate = options.rates.get(account.provider)
    return replace(
        account,
        rate=Rate.parse(rate) if rate else account.rate,
        timeouts=Timeouts(create=options.timing.create),
    )


def _prices(accounts: Mapping[str, Account], options: BatchOptions) -> dict[str, PriceList]:
    return {
        name: options.prices.get(name, PriceList()).over(account.prices) for name, account in accounts.items()
    }

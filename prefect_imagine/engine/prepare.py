"""From prompts or a batch id to a plan with clients: what happens before a run may spend anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem, Plan, check_same, read_plan, write_plan
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.state import BatchState, Phase
from prefect_imagine.engine.preflight import (
    Inspection,
    check_priced,
    check_requests,
    check_unasked,
    inspect,
    make_plan,
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
from prefect_imagine.stores import Store

STORE_SECONDS = 10.0
"""How long the store may fail before anything is spent."""

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
        clients: of the providers that still have something to do.
        fresh: whether the plan exists only in memory yet.
    """

    plan: Plan
    state: BatchState
    clients: Mapping[str, ProviderClient] = field(default_factory=dict)
    balances: Mapping[str, Balance] = field(default_factory=dict)
    fresh: bool = False

    @property
    def settled(self) -> bool:
        """Whether running it would change nothing."""
        return not self.clients


@asynccontextmanager
async def prepare_batch(
    store: Store,
    batch_id: str,
    asked: Sequence[RequestedItem] | None,
    accounts: Accounts,
    options: BatchOptions,
    shared: Shared = lambda account: None,
) -> AsyncIterator[PreparedBatch]:
    """Read the batch's plan, or make one of what is asked, and open the clients that it needs.

    Spends nothing and writes nothing: `persist_plan` writes a fresh plan.

    Args:
        shared: finds the limit that an account's key shares with other machines, if any.

    Raises:
        ConfigurationError: what is wrong with prompts, keys, prices or addresses, or the store cannot be
            read.
    """
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        plan = await blocking(read_plan, store, batch_id)
        state = (await blocking(read_journal, store, batch_id)).state if plan is not None else BatchState()
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error
    finally:
        await blocking.aclose()
    if plan is None and asked is None:
        raise ConfigurationError(f"there is no batch {batch_id!r} under {store.address}")
    # Only a batch that was named can be meant for something else: a flow run's own is what it planned first.
    if plan is not None and asked is not None and options.batch_id is not None:
        check_same(plan, [each.fingerprint for each in asked])
    if plan is not None:
        check_priced(plan, options)
    wanted = _unsettled(plan, state, options) if plan is not None else _asked_providers(asked or ())
    found_by = _or_problems(asked or (), accounts, options) if plan is None else accounts
    reached = _reached(wanted, found_by, options, shared, models=plan is None)
    async with reached as (found, clients, inspection):
        fresh = plan is None
        if plan is None:
            prices = _prices(found, options)
            plan = make_plan(batch_id, asked or (), clients, inspection, options, prices)
        yield PreparedBatch(plan, state, clients, inspection.balances, fresh)


def to_create(prepared: PreparedBatch, options: BatchOptions) -> list[BatchItem]:
    """The items that a run with these options may create: of an open one that it was not accepted may yet
    turn out."""

    def wanted(item: BatchItem) -> bool:
        phase = prepared.state[item.index].phase
        return phase in (Phase.PLANNED, Phase.OPEN) or options.creates_again(phase)

    return list(filter(wanted, prepared.plan.items))


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
    """Write a fresh plan, after making sure that the store takes what is going to be paid for; returns the
    batch with the plan that stands.

    Raises:
        ConfigurationError: the store cannot be written.
    """
    if prepared.settled:
        return prepared
    blocking = Blocking(patience=STORE_SECONDS)
    try:
        await blocking(store.check_writable)
        if not prepared.fresh or await blocking(write_plan, store, prepared.plan):
            return prepared
        # Somebody made the same batch in this moment: theirs stands, with the seeds that they drew.
        known = await blocking(read_plan, store, prepared.plan.batch_id)
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error
    finally:
        await blocking.aclose()
    if known is None or known.asked != prepared.plan.asked:
        raise ConfigurationError(f"batch {prepared.plan.batch_id!r} has just been made with other prompts")
    return replace(prepared, plan=known)


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


def _unsettled(plan: Plan, state: BatchState, options: BatchOptions) -> list[str]:
    def goes_on(item: BatchItem) -> bool:
        known = state[item.index]
        return not known.settled or options.creates_again(known.phase)

    return [name for name in plan.providers if any(map(goes_on, plan.of(name)))]


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

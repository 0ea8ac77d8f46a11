"""Everything that is wrong with prompts, what the providers would refuse among it, told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.planning.accounts import Accounts, reached
from prefect_imagine.engine.planning.preflight import (
    check_requests,
    check_unasked,
)
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.spool import Asked, providers_of
from prefect_imagine.providers.spec import Account


async def raise_problems(asked: Asked, accounts: Accounts, options: BatchOptions, problems: Problems) -> None:
    """Raise `InvalidPromptsError` with these problems of a prompts file, and with what the providers would
    refuse of those prompts that could be read, as far as they can be asked."""
    await _note_refused(asked, accounts, options, problems)
    problems.check()


async def _note_refused(asked: Asked, accounts: Accounts, options: BatchOptions, problems: Problems) -> None:
    async def ask(provider: str) -> None:
        own = (each for each in asked if each.request.provider == provider)
        try:
            async with reached([provider], accounts, options, models=True) as those:
                check_requests(own, those.clients, those.inspection, problems)
        except ConfigurationError as error:
            problems.add(str(error))
            check_unasked(provider, own, problems)

    await asyncio.gather(*map(ask, providers_of(asked)))


def or_problems(asked: Asked, accounts: Accounts, options: BatchOptions) -> Accounts:
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

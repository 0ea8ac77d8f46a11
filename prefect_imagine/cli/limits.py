"""`limits`: what keeps all machines, and this one, inside a key's rate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_imagine.cli import output, values
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.options import Credentials, Json, any_provider, values_of
from prefect_imagine.cli.server import prepare_prefect
from prefect_imagine.clock import boot_seconds
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.pace_store import machine_pace
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.registry import provider_names
from prefect_imagine.providers.spec import Account

if TYPE_CHECKING:
    from prefect_imagine.tasks.shared_limits import SharedLimitState

Known = Mapping[str, Account]
"""Accounts whose keys are at hand, by provider."""


def limits(
    provider: Annotated[str | None, any_provider("only of this one")] = None,
    /,
    *,
    wanted: Annotated[
        tuple[tuple[str | None, Rate], ...], values_of(values.limit, "[P=]60/10s"), Parameter(name="--set")
    ] = (),
    credentials: Credentials = (),
    json: Json = False,
) -> int:
    """Rate limits that all machines share through Prefect.

    Args:
        wanted: make or change the limit that all machines share for this account's key.
    """
    prepare_prefect()
    asked = [provider] if provider else list(provider_names())
    rates = {_limited(named or provider): rate for named, rate in wanted}
    return asyncio.run(_limits(asked, rates, dict(credentials), json=json))


async def _limits(
    asked: list[str], wanted: Mapping[str, Rate], credentials: Mapping[str, str], *, json: bool
) -> int:
    from prefect_imagine.tasks.shared_limits import read_limits, set_limit

    known = await _accounts(asked, wanted, credentials)
    for provider, rate in wanted.items():
        await set_limit(known[provider], rate)
    found = [each for each in await read_limits() if each.provider in asked]
    mine = {provider: account for provider, account in known.items() if provider in asked}
    if json:
        output.print_json(_as_json(found, mine))
    else:
        _show(found, mine)
    return 0


def _limited(provider: str | None) -> str:
    if provider is None:
        raise ConfigurationError("--set needs a provider: write --set PROVIDER=60/10s")
    return provider


async def _accounts(asked: list[str], wanted: Iterable[str], credentials: Mapping[str, str]) -> Known:
    """The accounts whose keys are at hand; of those that are to be limited, it must be."""
    find = accounts_for(credentials)
    found = dict(await find(list(wanted)))
    for provider in asked:
        try:
            found |= await find([provider])
        except ConfigurationError:
            if provider in credentials:
                raise
    return found


def _show(found: Iterable[SharedLimitState], known: Known) -> None:
    identities = {account.identity for account in known.values()}
    output.rows(
        "Limits that all machines share",
        ("provider", "key", "whose"),
        (
            (
                each.provider,
                each.key_hash,
                "yours" if each.identity in identities else "another",
                f"{each.limit:g}",
                f"{each.decay:g}",
                each.admits(10),
                each.admits(60),
                each.in_use if each.active else "off",
            )
            for each in found
        ),
        right=("limit", "decay", "in 10 s", "in 60 s", "in use"),
    )
    shared = {each.identity for each in found}
    for provider, account in known.items():
        if account.identity not in shared:
            print(f"{provider}: nothing is shared; --set {provider}=60/min makes a limit")
        print(f"{provider} on this machine: {_said(machine_pace(account.identity))}")


def _said(pace: Pace | None) -> str:
    now = boot_seconds()
    if pace is None or not pace.answered:
        return "nothing learned lately"
    said = []
    if pace.frozen_until > now:
        said.append(f"refused, sends nothing for {pace.frozen_until - now:.0f} s")
    if pace.by_headers and pace.reset_at > now:
        said.append(f"{pace.left} of {pace.limit} requests left for {pace.reset_at - now:.0f} s")
    elif pace.by_headers:
        said.append(f"{pace.limit} requests a window, and a new one has begun")
    elif pace.interval > 0:
        said.append(f"a request every {pace.interval:.2g} s")
    return "; ".join(said) or "no limit met"


def _as_json(found: Iterable[SharedLimitState], known: Known) -> dict[str, object]:
    identities = {account.identity for account in known.values()}
    return {
        "limits": [
            {
                "provider": each.provider,
                "key_hash": each.key_hash,
                "yours": each.identity in identities,
                "limit": each.limit,
                "decay_per_second": each.decay,
                "per_minute": each.admits(60),
                "in_use": each.in_use,
                "active": each.active,
            }
            for each in found
        ],
        "machine": {name: _said(machine_pace(account.identity)) for name, account in known.items()},
        "error": None,
    }

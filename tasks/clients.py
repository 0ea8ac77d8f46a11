"""What single tasks share: clients, from blocks that are handed in or else from the environment's keys, and
which failures are worth another run of a task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun

from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.errors import ConfigurationError, OutputError, ProviderError, StoreError
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import account_from_environment, open_client, spec_of

Credentials = BaseCredentials | Sequence[BaseCredentials] | None
"""One block, several blocks for several providers, or none: the environment's keys."""


@asynccontextmanager
async def open_clients(
    providers: Iterable[str], credentials: Credentials
) -> AsyncIterator[Mapping[str, ProviderClient]]:
    """Clients of these providers, closed at the end. Raises `ConfigurationError`."""
    given = [credentials] if isinstance(credentials, BaseCredentials) else list(credentials or ())
    wrong = next((each for each in given if not isinstance(each, BaseCredentials)), None)
    if wrong is not None:
        raise ConfigurationError(
            f"a {type(wrong).__name__} is no credentials block: load one, and hand it in itself"
        )
    blocks = {block.provider_name: block for block in given}
    wanted = list(dict.fromkeys(providers))
    for provider in wanted:
        spec_of(provider)
    if blocks and wanted and not blocks.keys() & set(wanted):
        # Otherwise the environment's key would pay where another was meant to.
        raise ConfigurationError(f"credentials of {', '.join(blocks)} are of no use for {', '.join(wanted)}")
    async with AsyncExitStack() as stack:
        clients: dict[str, ProviderClient] = {}
        for provider in wanted:
            block = blocks.get(provider)
            account = account_from_environment(provider) if block is None else block.account()
            clients[provider] = open_client(account)
            stack.push_async_callback(clients[provider].aclose)
        yield clients


class ReadOptions(TypedDict):
    """Options of a task that may be run again: it reads, and pays for nothing."""

    retries: int
    retry_delay_seconds: float
    retry_condition_fn: Any
    cache_policy: CachePolicy
    persist_result: bool


async def may_pass(task: object, run: TaskRun, state: State[Any]) -> bool:
    """Whether a later moment may mend it: an outage may, a mistake or a deadline may not."""
    try:
        await state.aresult()
    except (ProviderError, StoreError) as error:
        return error.retryable
    except OutputError:
        return True
    except Exception:
        return False
    return False


READS = ReadOptions(
    retries=3, retry_delay_seconds=5, retry_condition_fn=may_pass, cache_policy=NO_CACHE, persist_result=False
)

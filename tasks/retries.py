"""Which failures of a task are worth another run of it."""

from __future__ import annotations

from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun

from prefect_imagine.errors import OutputError, ProviderError, StoreError


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

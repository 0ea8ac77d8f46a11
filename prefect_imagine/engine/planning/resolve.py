"""From what a flow is given to the generations that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.planning.accounts import Accounts
from prefect_imagine.engine.planning.refusals import raise_problems
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import Defaults, Prompt, asked_by, prompts_to_rows
from prefect_imagine.prompts.rotation import Rotation, rotated
from prefect_imagine.prompts.source import asked_in
from prefect_imagine.prompts.spool import Asked, Spool
from prefect_imagine.prompts.templates import variables


async def resolve(
    prompts: Sequence[Prompt] | str | None,
    defaults: Defaults,
    rotation: Rotation | None,
    at: datetime,
    accounts: Accounts,
    options: BatchOptions,
) -> Asked | None:
    """The generations that a list of prompts, or a file of them, asks for at a local time; `None` where
    there are no prompts: a batch is to be resumed.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidPromptsError: with everything that is wrong, as far as the providers can be asked.
    """
    if prompts is None:
        return None
    problems = Problems()
    if isinstance(prompts, str):
        asked = await asyncio.to_thread(asked_in, prompts, None, defaults, variables(at), problems)
    else:
        asked = Spool(asked_by(prompts_to_rows(prompts), defaults, variables(at), problems))
    if problems.found:
        await raise_problems(asked, accounts, options, problems)
    return rotated(asked, rotation, at)

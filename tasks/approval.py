"""Asking a person before much is spent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from uuid import uuid4

from prefect.context import FlowRunContext
from prefect.flow_runs import apause_flow_run
from prefect.input import RunInput
from pydantic import Field

from prefect_imagine.billing.estimates import EstimateLine, estimate_text
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.errors import ConfigurationError, NotApprovedError
from prefect_imagine.providers.credits import add_credits

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2
GRACE_SECONDS = 300.0
"""By how much longer Prefect would wait: of a run that outlasts its pause it says only that it failed."""


class Approval(RunInput):
    """A person's answer."""

    approve: bool = Field(
        default=False,
        description="On: create what is listed, for these credits. Off: end the run; nothing is spent.",
    )


async def check_approved(prepared: PreparedBatch, threshold: int | float | None, minutes: float) -> None:
    """Pause the flow run until a person has said yes, where what it may create passes so many credits, or
    has no price.

    Raises:
        NotApprovedError: a person said no, or nobody answered in time.
        ConfigurationError: this run's deployment does not let it wait.
    """
    lines = prepared.expected
    if threshold is None or not _passes(lines, threshold):
        return
    _check_may_wait()
    logger.info("batch %s waits to be approved: %s", prepared.batch_id, estimate_text(lines))
    question = Approval.with_initial_data(
        description=_question(prepared.batch_id, prepared.examples, lines, minutes)
    )
    seconds = 60 * minutes
    try:
        async with asyncio.timeout(seconds):
            answer = await apause_flow_run(
                wait_for_input=question,
                timeout=round(seconds + GRACE_SECONDS),
                poll_interval=LOOK_SECONDS,
                key=str(uuid4()),  # each run asks for what it would create itself
            )
    except TimeoutError as error:
        raise NotApprovedError(
            f"nobody approved it within {minutes:g} minutes: {estimate_text(lines)}"
        ) from error
    if answer is None or not answer.approve:
        raise NotApprovedError(f"a person said no: {estimate_text(lines)}")
    logger.info("batch %s was approved: %s", prepared.batch_id, estimate_text(lines))


def _check_may_wait() -> None:
    """Prefect takes a paused run's place under its deployment's concurrency limit back, and ends the run some
    minutes later, answered or not, for having lost it."""
    context = FlowRunContext.get()
    state = context.flow_run.state if context is not None and context.flow_run is not None else None
    if state is not None and state.state_details.deployment_concurrency_lease_id is not None:
        raise ConfigurationError(
            "a run of a deployment with a concurrency_limit cannot wait for approval: take the limit off the "
            "deployment (a work pool may have one), or leave approve_above out"
        )


def _passes(lines: Sequence[EstimateLine], threshold: int | float) -> bool:
    priced = add_credits(line.credits for line in lines if line.credits is not None)
    return priced > threshold or any(line.credits is None for line in lines)


def _question(batch_id: str, titles: Sequence[str], lines: Sequence[EstimateLine], minutes: float) -> str:
    examples = "\n".join(f"- `{title.replace('`', ' ')}`" for title in titles)
    rows = "\n".join(
        f"| {line.provider} | {line.kind} | {line.model} | {line.items} | "
        f"{'no price' if line.credits is None else line.credits} |"
        for line in lines
    )
    return (
        f"Batch **{batch_id}** would create {estimate_text(lines)}.\n\n"
        f"| provider | kind | model | items | credits |\n|---|---|---|--:|--:|\n{rows}\n\n"
        f"Such as:\n\n{examples}\n\n"
        f"Nothing has been spent. No answer within {minutes:g} minutes means no."
    )

"""Asking a person before much is spent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID, uuid4

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.flow_runs import apause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field, ValidationError, WithJsonSchema, create_model

from prefect_imagine.batches.approvals import Changes
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.billing.estimates import EstimateLine, estimate_text
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.errors import ConfigurationError, NotApprovedError
from prefect_imagine.providers.credits import Credits, add_credits

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2
GRACE_SECONDS = 300.0
"""By how much longer Prefect would wait: of a run that outlasts its pause it says only that it failed."""


_Limit = Annotated[Credits, WithJsonSchema({"type": "number", "title": "credits"})] | None


class Approval(RunInput):
    """A person's answer. Where there are several providers, each has a switch `leave_out_<provider>`, too."""

    approve: bool = Field(
        default=False,
        description=(
            "On: create what is listed, for these credits, as far as what is changed below allows. Off: end "
            "the run; nothing is spent."
        ),
    )
    max_credits: _Limit = Field(
        default=None,
        title="Max credits",
        description=(
            "Creating stops before the batch costs more than this in all. It can only be lowered: None, or "
            "more than the run's own limit, means that limit."
        ),
    )


def needs_approval(lines: Sequence[EstimateLine], threshold: Credits) -> bool:
    """Whether what a run may create passes so many credits, at all providers together, or has no price."""
    priced = add_credits(line.credits for line in lines if line.credits is not None)
    return priced > threshold or any(line.credits is None for line in lines)


@dataclass(frozen=True)
class Yes:
    """A person's consent.

    Attributes:
        changes: what that person wants otherwise.
        key: names the answer, of all that were given to this run.
    """

    changes: Changes
    key: str


Used = Callable[[str], Awaitable[bool]]
"""Whether something has been made of an answer, by its key."""


async def ask(prepared: PreparedBatch, options: BatchOptions, minutes: float, used: Used) -> Yes:
    """Pause the flow run until a person has said yes; or take what was answered to the same question before
    this run crashed.

    Args:
        options: as the run was told.

    Raises:
        NotApprovedError: a person said no, or what cannot be done; or nobody answered in time.
        ConfigurationError: this run's deployment does not let it wait.
    """
    lines = prepared.expected
    told = estimate_text(lines)
    form = _form(lines, options, _question(prepared.batch_id, prepared.examples, lines, options, minutes))
    try:
        key, answer = await _answered_before(form, used) or await _answered_now(form, minutes, prepared)
    except TimeoutError as error:
        raise NotApprovedError(f"nobody approved it within {minutes:g} minutes: {told}") from error
    except ValidationError as error:
        raise NotApprovedError(f"the answer cannot be read: {error.errors()[0]['msg']}") from error
    if answer is None or not answer.approve:
        raise NotApprovedError(f"a person said no: {told}")
    changes = _changes(answer, _providers(lines), options)
    logger.info("batch %s was approved: %s%s", prepared.batch_id, told, changes_text(changes))
    return Yes(changes, key)


async def _answered_now(
    form: type[Approval], minutes: float, prepared: PreparedBatch
) -> tuple[str, Approval | None]:
    _check_may_wait()
    told = estimate_text(prepared.expected)
    logger.info("batch %s waits to be approved: %s", prepared.batch_id, told)
    seconds, key = 60 * minutes, str(uuid4())  # each run asks for what it would create itself
    async with asyncio.timeout(seconds):
        answer = await apause_flow_run(
            wait_for_input=form,
            timeout=round(seconds + GRACE_SECONDS),
            poll_interval=LOOK_SECONDS,
            key=key,
        )
    return key, answer


async def _answered_before(form: type[Approval], used: Used) -> tuple[str, Approval] | None:
    """The answer to the last question of this run, where that was this one, and the run has crashed before
    anything was made of it. What it came to itself is another matter: then it asks anew."""
    run_id = UUID(str(flow_run.id))
    async with get_client() as client:
        states = await client.read_flow_run_states(run_id)
        for state in sorted(states, key=lambda each: each.timestamp, reverse=True):
            key, names = state.state_details.pause_key, state.state_details.run_input_keyset
            if state.is_final() and not state.is_crashed():
                return None
            if key is None or names is None:
                continue
            found = await client.filter_flow_run_input(run_id, names["response"], 1, set())
            asked = await client.filter_flow_run_input(run_id, names["description"], 1, set())
            same = [each.decoded_value for each in asked] == [form._description]
            if not found or not same or await used(key):
                return None
            return key, form.load_from_flow_run_input(found[0])
    return None


def _form(lines: Sequence[EstimateLine], options: BatchOptions, question: str) -> type[Approval]:
    """The form as it is shown: with what the run was told, and its providers to choose from."""
    limit = Approval.model_fields["max_credits"]
    fields: dict[str, Any] = {
        "max_credits": (
            _Limit,
            Field(default=options.max_credits, title=limit.title, description=limit.description),
        )
    }
    providers = _providers(lines)
    # A switch for each: lists to choose from do not open by a click in Prefect's old UI.
    for name in providers if len(providers) > 1 else ():
        own = estimate_text([line for line in lines if line.provider == name])
        description = f"On: none of these is created: {own}. What is under way is followed and stored."
        fields[_switch(name)] = (
            bool,
            Field(default=False, title=f"Leave out {name}", description=description),
        )
    form: type[Approval] = create_model("Approval", __base__=Approval, **fields)
    form._description = question
    return form


def _providers(lines: Sequence[EstimateLine]) -> list[str]:
    return list(dict.fromkeys(line.provider for line in lines))


def _switch(provider: str) -> str:
    """The field that leaves a provider out."""
    return f"leave_out_{provider.replace('-', '_')}"


def _changes(answer: Approval, providers: Sequence[str], options: BatchOptions) -> Changes:
    """What a yes wants otherwise than it was asked for."""
    without = tuple(name for name in providers if getattr(answer, _switch(name), False))
    limit, own = answer.max_credits, options.max_credits
    if limit is not None and limit < 0:
        raise NotApprovedError(f"max_credits was answered with {limit}: a batch cannot cost less than 0")
    if len(without) == len(providers):
        raise NotApprovedError(f"every provider was left out: {', '.join(without)}")
    lowered = limit if limit is not None and (own is None or limit < own) else None
    return Changes(max_credits=lowered, without=without)


def changes_text(changes: Changes) -> str:
    """What a person wants otherwise, to stand after an estimate."""
    limit = "" if changes.max_credits is None else f"; at most {changes.max_credits} credits for the batch"
    return limit + (f"; without {', '.join(changes.without)}" if changes.without else "")


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


def _question(
    batch_id: str, titles: Sequence[str], lines: Sequence[EstimateLine], options: BatchOptions, minutes: float
) -> str:
    examples = "\n".join(f"- `{title.replace('`', ' ')}`" for title in titles)
    rows = "\n".join(
        f"| {line.provider} | {line.kind} | {line.model} | {line.items} | "
        f"{'no price' if line.credits is None else line.credits} |"
        for line in lines
    )
    return (
        f"Batch **{batch_id}** would create {estimate_text(lines)}.\n\n"
        f"| provider | kind | model | items | credits |\n|---|---|---|--:|--:|\n{rows}\n\n"
        f"{_limits(options)}"
        f"Such as:\n\n{examples}\n\n"
        f"Nothing of it has been spent. No answer within {minutes:g} minutes means no."
    )


def _limits(options: BatchOptions) -> str:
    """What the run was told of what the batch may cost."""
    single = [f"{amount} at {name}" for name, amount in options.max_credits_by_provider.items()]
    whole = [] if options.max_credits is None else [f"{options.max_credits} in all"]
    limits = ", ".join([*whole, *single])
    return f"The batch may cost at most these credits: {limits}.\n\n" if limits else ""

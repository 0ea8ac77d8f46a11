"""The single tasks in a flow of one's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from prefect_imagine import (
    GenerationKind,
    GenerationRequest,
    Webhook,
    cancel_generations,
    create_generations,
    estimate_credits,
    fetch_outputs,
    get_balance,
    list_models,
    list_webhooks,
    poll_generations,
    register_webhook,
    remove_webhook,
    store_outputs,
    update_webhook,
)
from prefect_imagine.blocks import AIVisualStudioCredentials
from prefect_imagine.errors import (
    AmbiguousCreateError,
    ConfigurationError,
    CreateGenerationsError,
    GenerationFailedError,
    ServerError,
    UnsupportedOperationError,
)
from prefect_imagine.providers.models import GenerationStatus
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from tests.flows.prefect_api import until

MISTAKEN: Any = ["a kite"]
OTHER = AIVisualStudioCredentials(api_key=SecretStr("a key"))
pytestmark = pytest.mark.usefixtures("prefect_server")


def _request(provider: str, prompt: str = "a kite", **more: object) -> GenerationRequest:
    return GenerationRequest.model_validate({"provider": provider, "prompt": prompt, **more})


async def test_from_request_to_file_over_all_providers(keys: RunningSandbox, tmp_path: Path) -> None:
    providers = ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio")

    @flow
    async def own_flow() -> list[str]:
        created = await create_generations([_request(provider) for provider in providers])
        ended = await poll_generations(created, timeout_seconds=60)
        outputs = await store_outputs(await fetch_outputs(ended), str(tmp_path))
        return [output.sha256 or "" for output in outputs]

    stored = await own_flow()
    made = {output["sha256"] for job in keys.report()["jobs"] for output in job["outputs"]}
    assert len(stored) == 7
    assert set(stored) == made
    assert keys.report(jobs=False)["charged"] == {
        "imaginelab": 5,
        "blockadelabs": 1,
        "imagineapi": 1,
        "aivisualstudio": 5,
    }


async def test_a_lost_answer_is_told_and_not_sent_again(keys: RunningSandbox) -> None:
    keys.faults.add(FaultRule("cut_after", on="create", match="lost"))
    requests = [_request("imaginelab", "kept"), _request("imaginelab", "lost")]
    with pytest.raises(CreateGenerationsError) as caught:
        await create_generations(requests)
    assert caught.value.created[0] is not None
    assert caught.value.created[1] is None
    assert isinstance(caught.value.errors[0], AmbiguousCreateError)
    assert len(keys.report(sums=False)["jobs"]) == 2


async def test_what_nobody_foresaw_of_one_create_does_not_hide_what_others_paid_for(
    keys: RunningSandbox,
) -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    odd = GenerationRequest(provider="imaginelab", prompt="odd", settings={"deep": deep})
    with pytest.raises(CreateGenerationsError, match="unexpected RecursionError") as caught:
        await create_generations.fn([_request("imaginelab", "kept"), odd])
    assert caught.value.created[0] is not None
    assert len(keys.report(sums=False)["jobs"]) == 1


async def test_a_request_that_would_be_refused_is_not_sent(keys: RunningSandbox) -> None:
    with pytest.raises(ConfigurationError, match="did you mean"):
        await create_generations([_request("aivisualstudio", model="prunaai/z-image-turba")])
    assert not keys.report(sums=False)["jobs"]


async def test_a_failed_generation_has_no_outputs_to_fetch(keys: RunningSandbox) -> None:
    [ended] = await poll_generations(await create_generations([_request("imaginelab", "fail-job")]))
    assert ended.status is GenerationStatus.FAILED
    with pytest.raises(GenerationFailedError):
        await fetch_outputs([ended])


async def test_only_the_named_generations_are_cancelled(keys: RunningSandbox) -> None:
    keys.configure(latency={"image": (60.0, 60.0)})
    stopped, left = await create_generations([_request("blockadelabs", text) for text in ("one", "two")])
    await cancel_generations([stopped])
    states = {job["id"]: job["status"] for job in keys.report(sums=False)["jobs"]}
    assert str(states[_same(states, stopped.id)]) == "aborted"
    assert str(states[_same(states, left.id)]) == "running"


def _same(states: dict[object, str], wanted: str) -> object:
    return next(each for each in states if str(each) == wanted)


async def test_prices_models_and_balances(keys: RunningSandbox) -> None:
    estimates = await estimate_credits([_request("aivisualstudio", kind="video"), _request("blockadelabs")])
    assert [each.credits for each in estimates] == [450, None]
    models = await list_models("imaginelab", GenerationKind.VOICE)
    assert models
    assert {model.kind for model in models} == {GenerationKind.VOICE}
    assert (await get_balance("imaginelab")).credits == 100_000
    with pytest.raises(UnsupportedOperationError):
        await get_balance.with_options(retries=0)("imagineapi")


async def test_a_webhook_from_registering_to_removing(keys: RunningSandbox) -> None:
    url, provider = "https://hooks.example.com/imagine", "aivisualstudio"

    @flow
    async def own_flow() -> list[Webhook]:
        made = await register_webhook(provider, url, ["generation.failed"])
        changed = await update_webhook(provider, made.id, active=False)
        listed = await list_webhooks(provider)
        await remove_webhook(provider, made.id)
        return [made, changed, *listed, *await list_webhooks(provider)]

    made, changed, listed = await own_flow()
    assert made.secret is not None
    assert (made.url, made.events) == (url, ("generation.failed",))
    assert changed == listed == made.model_copy(update={"secret": None, "active": False})


async def test_a_webhook_is_registered_once_whatever_becomes_of_the_answer(keys: RunningSandbox) -> None:
    url = "https://hooks.example.com/imagine"
    keys.faults.add(FaultRule("error_after", on="other", times=1, skip=1))
    assert (await register_webhook("aivisualstudio", url)).secret is None
    keys.faults.add(FaultRule("error_before", on="other", times=1, skip=1))
    with pytest.raises(ServerError):
        await register_webhook("aivisualstudio", url)
    assert len(await list_webhooks("aivisualstudio")) == 1


async def test_many_creates_ask_for_the_models_once(keys: RunningSandbox) -> None:
    await create_generations([_request("aivisualstudio", f"kite {number}") for number in range(8)])
    seen = keys.report(jobs=False)["requests"]["aivisualstudio"]
    assert seen == {**seen, "create": 8}
    assert sum(seen.values()) <= 10


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: register_webhook("aivisualstudio", "http://hooks.example.com"), "https://"),
        (lambda: get_balance("nope"), "there is no provider 'nope'"),
        (lambda: list_models("imaginlab"), "did you mean imaginelab"),
        (lambda: create_generations([_request("imaginlab")]), "did you mean imaginelab"),
        (lambda: create_generations(MISTAKEN), "a list of GenerationRequest"),
        (lambda: create_generations(cast(Any, _request("imaginelab"))), "a list of GenerationRequest"),
        (lambda: get_balance("imaginelab", credentials=MISTAKEN), "no credentials block"),
        (lambda: get_balance("imaginelab", credentials=OTHER), "of no use for imaginelab"),
    ],
)
async def test_mistakes_are_told_at_once(keys: RunningSandbox, work: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        await work()
    assert keys.report()["jobs"] == []


async def test_what_will_not_pass_is_not_tried_again(keys: RunningSandbox) -> None:
    keys.configure(latency={"image": (3600.0, 3600.0)})
    created = await create_generations([_request("imaginelab")])

    async def run_count(failed: State[Any]) -> int:
        assert failed.is_failed()
        run = failed.state_details.task_run_id
        assert run is not None

        async def look() -> int | None:
            async with get_client() as client:
                with suppress(ObjectNotFound):  # the server records task runs some time after they have ended
                    found = await client.read_task_run(run)
                    return found.run_count if found.state and found.state.is_final() else None
            return None

        return await until(look, f"task run {run} to be recorded")

    makes: list[Any] = [
        lambda: poll_generations(created, timeout_seconds=0.5, return_state=True),
        lambda: get_balance("aivisualstudio", return_state=True),
    ]
    assert [await run_count(await make()) for make in makes] == [1, 1]


async def test_a_key_handed_in_for_a_block_is_not_shown(keys: RunningSandbox) -> None:
    with pytest.raises(ConfigurationError) as told:
        await get_balance("imaginelab", credentials=MISTAKEN)
    assert MISTAKEN[0] not in str(told.value)

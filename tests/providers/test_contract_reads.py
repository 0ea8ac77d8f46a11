"""What every client's reads do, whichever API is behind it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from prefect_imagine.errors import NotFoundError, UnsupportedOperationError
from prefect_imagine.providers.models import GenerationKind, GenerationStatus
from prefect_imagine.providers.registry import spec_of
from prefect_imagine.sandbox import RunningSandbox
from tests.providers.clients import PROVIDERS

from .clients import MODELS, UNKNOWN_IDS, OpenClient, asked, made, pages_of, rows_of


async def test_a_create_answers_with_the_job(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    job = await open_client(provider, sandbox).create(asked(provider, "a lake"))
    [booked] = sandbox.report()["jobs"]
    assert (job.id, job.prompt, job.model) == (booked["id"], "a lake", MODELS[provider])
    assert job.kind is GenerationKind.IMAGE
    assert not job.status.terminal
    assert job.created_at is not None
    assert job.created_at.tzinfo is not None


async def test_a_job_is_created_polled_and_fetched(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    jobs = await made(client, "one", "two", "three", "four")
    sandbox.advance(11)
    polled = await client.poll([job.id for job in jobs])
    assert {row.prompt: row.status for row in polled.values()} == dict.fromkeys(
        ("one", "two", "three", "four"), GenerationStatus.SUCCEEDED
    )
    fetched = await client.fetch(jobs[0].id)
    booked = sandbox.report(sums=False)["jobs"][0]["outputs"]
    assert [output.url for output in fetched.outputs] == [output["url"] for output in booked]


async def test_unfinished_jobs_have_no_outputs(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    [job] = await made(client, "a lake")
    for seconds in (0, 3, 3):
        sandbox.advance(seconds)
        row = await client.fetch(job.id)
        assert (row.status.terminal, row.outputs) == (False, ())


@pytest.mark.parametrize("number", [1, 2, 3, 30])
async def test_poll_leaves_out_what_the_api_does_not_know(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, number: int
) -> None:
    client = open_client(provider, sandbox)
    jobs = await made(client, *[f"{each}" for each in range(number)])
    found = await client.poll([UNKNOWN_IDS[provider], *(job.id for job in jobs)])
    assert found.keys() == {job.id for job in jobs}


async def test_poll_of_nothing_asks_nothing(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    assert await client.poll([]) == {}
    assert client.requests.total() == 0


async def test_poll_leaves_out_jobs_of_other_accounts(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    mine = open_client(provider, sandbox)
    demo = sandbox.environment.get("BLOCKADELABS_API_KEY")
    keys = {
        "imaginelab": "imaginelab-sandbox-key-other",
        "blockadelabs": f"{demo}-other",
        "imagineapi": "imagineapi-sandbox-other",
        "aivisualstudio": "avs_live_sandbox-other",
    }
    jobs = await made(open_client(provider, sandbox, key=keys[provider]), "a", "b", "c")
    assert await mine.poll([job.id for job in jobs]) == {}
    assert await mine.poll([jobs[0].id]) == {}


async def test_polling_many_takes_few_requests(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    jobs = await made(client, *[f"{number}" for number in range(60)])
    assert len(await client.poll([job.id for job in jobs])) == 60
    assert client.requests["poll"] == 1


async def test_a_fetch_of_what_is_not_there_is_not_found(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    with pytest.raises(NotFoundError):
        await open_client(provider, sandbox).fetch(UNKNOWN_IDS[provider])


async def test_history_is_complete_over_pages_and_says_that_it_ends(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    jobs = await made(client, *[f"{number}" for number in range(130)])
    pages = await pages_of(client)
    assert [row.id for row in rows_of(pages)] == [job.id for job in reversed(jobs)]
    assert [page.end for page in pages] == [False] * (len(pages) - 1) + [True]


async def test_history_is_newest_first(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    for prompt in ("first", "second", "third"):
        await made(client, prompt)
        sandbox.advance(5)
    pages = await pages_of(client)
    assert all(page.newest_first for page in pages)
    times = [row.created_at for row in rows_of(pages) if row.created_at is not None]
    assert len(times) == 3
    assert all(newer > older for newer, older in pairwise(times))


async def test_the_history_of_an_empty_account_ends(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    pages = await pages_of(open_client(provider, sandbox), prompt="a lake")
    assert rows_of(pages) == []
    assert pages[-1].end


async def test_history_by_prompt_shows_at_least_that_prompt(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    await made(client, "a lake", "a hill", "a lake")
    pages = await pages_of(client, prompt="a lake")
    assert [row.prompt for row in rows_of(pages)].count("a lake") == 2
    assert pages[-1].end


async def test_a_failed_job_says_why(sandbox: RunningSandbox, open_client: OpenClient, provider: str) -> None:
    client = open_client(provider, sandbox)
    [job] = await made(client, "fail-job")
    sandbox.advance(11)
    row = await client.fetch(job.id)
    assert (row.status, row.error) == (GenerationStatus.FAILED, "The generation failed")
    assert row.outputs == ()


async def test_the_credits_of_a_failed_job_come_back(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    [job] = await made(client, "fail-job")
    sandbox.advance(11)
    row = await client.fetch(job.id)
    charged = (job.credits, row.credits)
    assert charged == ((5, 0) if client.capabilities.credits_on_create else (None, None))


CALLS = ("models", "balance", "packages", "cancel", "delete", "status", "webhooks")
MISSING = [
    (provider, call)
    for provider in PROVIDERS
    for call in CALLS
    if not getattr(spec_of(provider).capabilities, call)
]


@pytest.mark.parametrize(("provider", "call"), MISSING)
async def test_what_capabilities_do_not_name_is_unsupported(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, call: str
) -> None:
    client = open_client(provider, sandbox)
    arguments = ["1"] if call in ("cancel", "delete") else []
    with pytest.raises(UnsupportedOperationError, match=provider):
        await getattr(client, call)(*arguments)
    assert client.requests.total() == 0


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if (name, "models") not in MISSING])
async def test_models_name_what_can_be_asked_for(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    listed = {model.id: model.kind for model in await client.models()}
    assert listed[MODELS[provider]] is GenerationKind.IMAGE
    images = await client.models(GenerationKind.IMAGE)
    assert MODELS[provider] in {model.id for model in images}
    assert {model.kind for model in images} == {GenerationKind.IMAGE}


async def test_requests_are_counted_by_purpose(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    await client.check()
    before = client.requests["other"]
    jobs = await made(client, "a", "b", "c")
    await client.poll([job.id for job in jobs])
    await client.fetch(jobs[0].id)
    await pages_of(client)
    counted = dict(client.requests) | {"history": bool(client.requests["history"])}
    assert counted == {"create": 3, "poll": 1, "fetch": 1, "history": True, "other": before}


async def test_the_provider_s_clock_is_learned(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    sandbox.configure(clock_offset_seconds=-3600.0)
    client = open_client(provider, sandbox)
    [job] = await made(client, "a lake")
    assert job.created_at is not None
    assert abs((client.clock.now() - job.created_at).total_seconds()) < 60

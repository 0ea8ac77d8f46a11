"""The pages' own examples, as they stand there without their comments, parsed field by field."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_imagine.errors import InsufficientCreditsError
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.models import (
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    ModelInfo,
    Output,
)
from prefect_imagine.providers.registry import open_client, spec_of
from prefect_imagine.providers.spec import Account

from .clients import CREATES, OpenClient, asked, pages_of
from .scripted import ScriptedApi, answer

SEEDS = Path(__file__).parent / "seeds"
SKYBOX_URL = (
    "https://blockade-platform-production.s3.amazonaws.com/images/imagine/"
    "detailed_digital_painting_cd_computer_render_fantasy_vr_dreamscape__6fee994c6f9f2229__793071_6.jpg?ver=1"
)


def seed(name: str) -> Any:
    """An example."""
    return json.loads((SEEDS / f"{name}.json").read_text())


async def test_imaginelab_created(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generations", answer(seed("imaginelab-created"), 201))
    job = await open_client("imaginelab", api.url).create(asked("imaginelab"))
    assert job == Generation(
        provider="imaginelab",
        id="1842",
        status=GenerationStatus.QUEUED,
        kind=GenerationKind.IMAGE,
        model="seedream-5.0-lite",
        prompt="A neon city skyline at dusk",
        credits=5,
        created_at=datetime(2026, 6, 7, 12, tzinfo=UTC),
        provider_status="pending",
        raw=seed("imaginelab-created"),
    )


async def test_imaginelab_create_body(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generations", answer(seed("imaginelab-created")))
    prompt = "A neon city skyline at dusk, ultra-detailed"
    request = asked("imaginelab", prompt, settings={"aspect_ratio": "16:9"})
    await open_client("imaginelab", api.url).create(request)
    body = seed("imaginelab-create-body")
    assert api.seen[0].body | {"project_id": None} == body


async def test_imaginelab_project(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generations", answer(seed("imaginelab-created")))
    await open_client("imaginelab", api.url).create(asked("imaginelab", settings={"project_id": 3}))
    assert api.seen[0].body["project_id"] == 3
    assert "settings" not in api.seen[0].body


async def test_imaginelab_status(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("GET /generations/1842/status", answer(seed("imaginelab-status")))
    progress = await open_client("imaginelab", api.url).progress("1842")
    assert progress == (GenerationStatus.SUCCEEDED, 100)


async def test_imaginelab_login(api: ScriptedApi) -> None:
    api.on("POST /auth/login", answer(seed("imaginelab-login")))
    api.on("GET /auth/me", answer({"id": 17}))
    account = Account(
        spec_of("imaginelab"), email="you@example.com", password=SecretStr("a&b"), base_url=api.url
    )
    client = open_client(account, pacer=Pacer())
    await client.check()
    await client.aclose()
    login, me = api.seen
    assert login.body == "username=you%40example.com&password=a%26b"
    assert login.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert me.headers["Authorization"] == f"Bearer {seed('imaginelab-login')['access_token']}"


async def test_imaginelab_error(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generations", answer(seed("imaginelab-error"), 402))
    with pytest.raises(InsufficientCreditsError, match="imaginelab: Insufficient credits"):
        await open_client("imaginelab", api.url).create(asked("imaginelab"))


def skybox(**changes: Any) -> Generation:
    """The skybox of all of Blockade's examples."""
    finished = Generation(
        provider="blockadelabs",
        id="123456",
        status=GenerationStatus.SUCCEEDED,
        kind=GenerationKind.IMAGE,
        model="stable-skybox",
        prompt="forest in autumn, detailed digital painting,cinematic lighting",
        echoed_seed="1432443",
        outputs=(Output(url=SKYBOX_URL),),
        created_at=datetime(2023, 3, 18, 10, 42, 19, tzinfo=UTC),
        finished_at=datetime(2023, 3, 18, 10, 42, 39, tzinfo=UTC),
        provider_status="complete",
        raw=seed("blockadelabs-by-id")["response"],
    )
    return finished.model_copy(update=changes)


async def test_blockade_created(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /imagine/requests", answer(seed("blockadelabs-created")))
    job = await open_client("blockadelabs", api.url).create(asked("blockadelabs"))
    assert job == skybox(
        status=GenerationStatus.QUEUED,
        outputs=(),
        finished_at=None,
        provider_status="pending",
        raw=seed("blockadelabs-created")["response"],
    )


@pytest.mark.parametrize("name", ["blockadelabs-by-id", "blockadelabs-by-obfuscated-id"])
async def test_blockade_by_id(api: ScriptedApi, open_client: OpenClient, name: str) -> None:
    api.on("GET /imagine/requests/123456", answer(seed(name)))
    assert await open_client("blockadelabs", api.url).fetch("123456") == skybox()


async def test_blockade_history(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("GET /imagine/myRequests", answer(seed("blockadelabs-history")))
    [page] = await pages_of(open_client("blockadelabs", api.url))
    assert (page.generations, page.end, page.newest_first) == ((skybox(),), True, True)


async def test_blockade_generators(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("GET /generators", answer(seed("blockadelabs-generators")))
    assert await open_client("blockadelabs", api.url).models() == (
        ModelInfo(
            provider="blockadelabs",
            id="stable-skybox",
            name="Stable Diffusion Skybox",
            kind=GenerationKind.IMAGE,
            parameters=seed("blockadelabs-generators")[0]["params"],
        ),
    )


async def test_blockade_cancel_and_delete(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("DELETE /imagine/requests/42", answer(seed("blockadelabs-cancelled")))
    api.on("DELETE /imagine/deleteImagine/42", answer(seed("blockadelabs-deleted")))
    client = open_client("blockadelabs", api.url)
    await client.cancel("42")
    await client.delete("42")
    assert [one.method for one in api.seen] == ["DELETE", "DELETE"]


async def test_aivisualstudio_created(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generate/image", answer(seed("aivisualstudio-created")))
    prompt = "A futuristic city at sunset, cyberpunk style"
    request = asked("aivisualstudio", prompt, settings={"aspect_ratio": "16:9"})
    job = await open_client("aivisualstudio", api.url).create(request)
    assert api.seen[0].body == seed("aivisualstudio-image-body")
    assert job == Generation(
        provider="aivisualstudio",
        id="gen_abc123def456",
        status=GenerationStatus.RUNNING,
        kind=GenerationKind.IMAGE,
        model="prunaai/z-image-turbo",
        prompt=prompt,
        credits=5,
        created_at=datetime(2025, 1, 9, 12, tzinfo=UTC),
        provider_status="processing",
        raw=seed("aivisualstudio-created"),
    )


async def test_aivisualstudio_video_body(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generate/video", answer({"id": "gen_1", "status": "processing"}))
    request = GenerationRequest(
        provider="aivisualstudio",
        kind=GenerationKind.VIDEO,
        model="minimax/hailuo-2.3-fast",
        prompt="A spaceship flying through an asteroid field",
        settings={"duration": 5},
    )
    job = await open_client("aivisualstudio", api.url).create(request)
    assert api.seen[0].body == seed("aivisualstudio-video-body")
    assert job.kind is GenerationKind.VIDEO


async def test_aivisualstudio_finished(api: ScriptedApi, open_client: OpenClient) -> None:
    record = seed("aivisualstudio-webhook-event")["data"]
    api.on("GET /generations/gen_abc123def456", answer(record))
    assert await open_client("aivisualstudio", api.url).fetch("gen_abc123def456") == Generation(
        provider="aivisualstudio",
        id="gen_abc123def456",
        status=GenerationStatus.SUCCEEDED,
        kind=GenerationKind.IMAGE,
        prompt="A futuristic city at sunset",
        outputs=(Output(url="https://cdn.example.com/image.png"),),
        created_at=datetime(2025, 1, 9, 12, tzinfo=UTC),
        finished_at=datetime(2025, 1, 9, 12, 0, 15, tzinfo=UTC),
        provider_status="completed",
        raw=record,
    )


async def test_aivisualstudio_models(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("GET /models", answer(seed("aivisualstudio-models")))
    assert await open_client("aivisualstudio", api.url).models() == (
        ModelInfo(
            provider="aivisualstudio",
            id="prunaai/z-image-turbo",
            name="Z-Image Turbo",
            kind=GenerationKind.IMAGE,
            credits=5,
        ),
        ModelInfo(
            provider="aivisualstudio",
            id="minimax/hailuo-2.3-fast",
            name="Hailuo 2.3 Fast",
            kind=GenerationKind.VIDEO,
            credits=450,
        ),
    )


async def test_aivisualstudio_error(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("POST /generate/image", answer(seed("aivisualstudio-error"), 403))
    with pytest.raises(InsufficientCreditsError, match="You need 5 credits but only have 2") as caught:
        await open_client("aivisualstudio", api.url).create(asked("aivisualstudio"))
    assert (caught.value.code, caught.value.status_code) == ("insufficient_credits", 403)


async def test_imagineapi_create_body(api: ScriptedApi, open_client: OpenClient) -> None:
    """The page has no example answer: this one is Directus's."""
    api.on("POST /items/images", answer({"data": {"id": "a-b", "status": "pending", "ref": "3:1"}}))
    job = await open_client("imagineapi", api.url).create(asked("imagineapi", "a lake"), correlator="3:1")
    assert api.seen[0].body == {"prompt": "a lake", "ref": "3:1"}
    assert (job.id, job.status, job.correlator) == ("a-b", GenerationStatus.QUEUED, "3:1")


@pytest.mark.parametrize("provider", CREATES)
async def test_bodies_are_json(api: ScriptedApi, open_client: OpenClient, provider: str) -> None:
    api.on(CREATES[provider], answer({"id": 1}))
    await open_client(provider, api.url).create(asked(provider, "naïve café ☕"))
    assert api.seen[0].headers["Content-Type"] == "application/json"
    assert api.seen[0].body["prompt"] == "naïve café ☕"

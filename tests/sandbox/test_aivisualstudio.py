"""AI Visual Studio against its page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox

from .callers import Callers


def code_of(response: httpx.Response) -> str:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"code", "message", "details"}
    return str(error["code"])


def test_create_read_and_list_as_on_the_page(callers: Callers, sandbox: RunningSandbox) -> None:
    created = callers.create("aivisualstudio", "A futuristic city", aspect_ratio="16:9")
    assert created.status_code == 200
    record = created.json()
    assert set(record) == {"id", "status", "prompt", "model", "type", "credits_charged", "created_at"}
    assert record["id"].startswith("gen_")
    assert (record["status"], record["credits_charged"]) == ("processing", 5)
    assert (record["model"], record["type"]) == ("prunaai/z-image-turbo", "image")

    sandbox.advance(11)
    done = callers.read("aivisualstudio", record["id"])
    assert (done["status"], set(done) - set(record)) == ("completed", {"output_url", "completed_at"})
    listed = callers.client("aivisualstudio").get("/generations").json()
    assert listed == {"data": [done], "total": 1}
    sandbox.configure(aivisualstudio_wraps_single=True)
    wrapped = callers.client("aivisualstudio").get(f"/generations/{record['id']}").json()
    assert wrapped == {"data": done}


@pytest.mark.parametrize(("given", "expected"), [(None, "webp"), ("png", "png"), ("jpg", "jpeg")])
def test_output_format(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client, given: str | None, expected: str
) -> None:
    job = callers.made("aivisualstudio", output_format=given)
    sandbox.advance(11)
    media = http.get(callers.media_url("aivisualstudio", job))
    assert media.headers["Content-Type"] == f"image/{expected}"


def test_video(callers: Callers) -> None:
    client = callers.client("aivisualstudio")
    created = client.post("/generate/video", json={"prompt": "a spaceship", "duration": 5}).json()
    assert (created["model"], created["credits_charged"]) == ("minimax/hailuo-2.3-fast", 450)
    assert code_of(client.post("/generate/video", json={"prompt": "x", "duration": 11})) == "invalid_request"
    assert client.post("/generate/video", json={"prompt": "x", "aspect_ratio": "3:2"}).status_code == 400


def test_listing_pages_and_filters(callers: Callers, sandbox: RunningSandbox) -> None:
    for number in range(22):
        callers.made("aivisualstudio", f"p{number}")
    assert [one["prompt"] for one in callers.listed("aivisualstudio", limit=2, offset=1)] == ["p20", "p19"]
    assert len(callers.listed("aivisualstudio")) == 20
    assert len(callers.listed("aivisualstudio", limit=1000)) == 22
    assert callers.listed("aivisualstudio", type="video") == []
    assert callers.listed("aivisualstudio", status="completed") == []
    assert len(callers.listed("aivisualstudio", status="processing", type="image")) == 20
    refused = callers.client("aivisualstudio").get("/generations", params={"limit": "many"})
    assert code_of(refused) == "invalid_request"


def test_models(callers: Callers) -> None:
    models = callers.client("aivisualstudio").get("/models").json()
    assert len(models["data"]) == models["total"] >= 4
    assert models["data"][0] == {
        "id": "prunaai/z-image-turbo",
        "name": "Z-Image Turbo",
        "type": "image",
        "credits_per_generation": 5,
        "description": "Fast image generation",
        "category": "image-generation",
    }
    videos = callers.client("aivisualstudio").get("/models", params={"type": "video"}).json()
    assert {one["type"] for one in videos["data"]} == {"video"}


def test_refusals_by_code(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    base = sandbox.base_urls["aivisualstudio"]
    assert code_of(http.get(f"{base}/models")) == "missing_api_key"
    assert code_of(http.get(f"{base}/models", headers={"Authorization": "Bearer no"})) == "invalid_api_key"
    assert code_of(callers.create("aivisualstudio", suffix="-readonly")) == "insufficient_scope"
    assert code_of(callers.create("aivisualstudio", model="nonesuch")) == "invalid_request"
    assert code_of(callers.create("aivisualstudio", "forbidden-content")) == "content_policy_violation"
    assert code_of(callers.client("aivisualstudio").get("/generations/gen_no")) == "not_found"
    assert callers.client("aivisualstudio").get("/keys").status_code == 401
    sandbox.configure(credits={"aivisualstudio": 2})
    refused = callers.create("aivisualstudio")
    assert (refused.status_code, code_of(refused)) == (403, "insufficient_credits")
    assert refused.json()["error"]["message"] == "You need 5 credits but only have 2"
    assert refused.json()["error"]["details"] == {"required": 5, "available": 2}


def test_webhooks(callers: Callers) -> None:
    client = callers.client("aivisualstudio")
    created = client.post("/webhooks", json={"url": "https://example.com/hook"}).json()
    assert created["events"] == ["generation.completed", "generation.failed"]
    assert created["secret"]
    assert client.get("/webhooks").json()["total"] == 1
    path = f"/webhooks/{created['id']}"
    narrowed = client.patch(path, json={"events": ["generation.failed"]}).json()
    assert narrowed["events"] == ["generation.failed"]
    assert client.delete(path).is_success
    assert code_of(client.delete(path)) == "not_found"
    assert code_of(client.post("/webhooks", json={"url": "http://example.com"})) == "invalid_request"

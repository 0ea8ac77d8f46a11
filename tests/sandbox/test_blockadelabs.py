"""Blockade Labs against its page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox

from .callers import Callers

FIELDS = {
    "id",
    "status",
    "queue_position",
    "file_url",
    "thumb_url",
    "title",
    "user_id",
    "username",
    "error_message",
    "obfuscated_id",
    "pusher_channel",
    "pusher_event",
    "created_at",
    "updated_at",
    "type",
    "generator",
    "generator_data",
}


def test_create_and_read_as_on_the_page(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client
) -> None:
    more: dict[str, Any] = {"negative_text": "blurry", "seed": 1432443, "animation_mode": "skybox"}
    answer = callers.create("blockadelabs", "forest in autumn", **more).json()
    record = answer["response"]
    assert set(record) == FIELDS
    assert (record["status"], record["file_url"], record["thumb_url"]) == ("pending", "", "")
    assert record["generator_data"] == {"prompt": "forest in autumn", **more}
    assert record["title"] == f"Imagination #{record['id']}"
    assert record["created_at"].endswith("+00:00")

    statuses = []
    for seconds in (0, 1.5, 1, 8):
        sandbox.advance(seconds)
        statuses.append(callers.read("blockadelabs", record["id"])["status"])
    assert statuses == ["pending", "dispatched", "processing", "complete"]
    done = callers.read("blockadelabs", record["id"])
    assert set(done) == FIELDS | {"dispatched_at", "processing_at", "completed_at"}
    assert done["file_url"].endswith("?ver=1")
    assert http.get(done["file_url"]).headers["Content-Type"] == "image/jpeg"
    assert http.get(done["thumb_url"]).is_success
    client = callers.client("blockadelabs")
    hashed = client.get(f"/imagine/requests/obfuscated-id/{record['obfuscated_id']}").json()
    assert hashed["response"] == done


def test_envelopes(callers: Callers, sandbox: RunningSandbox) -> None:
    client = callers.client("blockadelabs")
    sandbox.configure(blockade_envelope="request")
    created = callers.create("blockadelabs").json()
    assert set(client.get(f"/imagine/requests/{created['id']}").json()) == {"request"}
    sandbox.configure(blockade_envelope="bare")
    assert client.get(f"/imagine/requests/{created['id']}").json()["id"] == created["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"generator": None},
        {"generator": "nonesuch"},
        {"prompt": ""},
        {"prompt": "x" * 601},
        {"seed": 2147483648},
        {"seed": "many"},
        {"animation_mode": "flat"},
        {"generator": "stable"},
        {"prompt": "forbidden-content"},
    ],
)
def test_bad_generator_data_is_400(
    callers: Callers, sandbox: RunningSandbox, change: dict[str, object]
) -> None:
    body = {"generator": "stable-skybox", "prompt": "a lake", **change}
    refused = callers.client("blockadelabs").post("/imagine/requests", json=body)
    assert (refused.status_code, set(refused.json())) == (400, {"error"})
    assert sandbox.books.jobs == []


def test_keys(http: httpx.Client, sandbox: RunningSandbox) -> None:
    url = sandbox.base_urls["blockadelabs"] + "/generators"
    refused = http.get(url, headers={"x-api-key": "no"})
    assert refused.status_code == 403
    assert refused.json() == {"error": "Account does not have access to this method"}
    assert http.get(url, params={"api_key": "blockade-sandbox"}).is_success
    body = {"api_key": "blockade-sandbox", "generator": "stable-skybox", "prompt": "a lake"}
    assert http.post(sandbox.base_urls["blockadelabs"] + "/imagine/requests", data=body).is_success


def test_history_counts_pages(callers: Callers, sandbox: RunningSandbox) -> None:
    for number in range(20):
        callers.made("blockadelabs", f"lake {number}")
    client = callers.client("blockadelabs")
    first = client.get("/imagine/myRequests").json()
    assert (len(first["data"]), first["totalCount"], first["has_more"]) == (18, 20, True)
    second = client.get("/imagine/myRequests", params={"offset": 1}).json()
    assert [one["generator_data"]["prompt"] for one in second["data"]] == ["lake 1", "lake 0"]
    assert second["has_more"] is False
    oldest = client.get("/imagine/myRequests", params={"order": "ASC", "limit": 1}).json()["data"][0]
    assert oldest["generator_data"]["prompt"] == "lake 0"
    assert len(callers.listed("blockadelabs", query="lake 1")) == 11
    assert len(callers.listed("blockadelabs", imagine_id=oldest["id"])) == 1
    assert callers.listed("blockadelabs", status="complete") == []
    assert callers.listed("blockadelabs", generator="stable") == []
    sandbox.advance(11)
    assert len(callers.listed("blockadelabs", status="complete", limit=100)) == 20


def test_cancel_and_delete(callers: Callers, sandbox: RunningSandbox) -> None:
    client = callers.client("blockadelabs")
    one, two = callers.made("blockadelabs"), callers.made("blockadelabs")
    assert client.delete(f"/imagine/requests/{one}").json() == {"success": True}
    assert callers.read("blockadelabs", one)["status"] == "abort"
    assert client.delete("/imagine/requests/pending").json() == {"success": True}
    assert callers.read("blockadelabs", two)["status"] == "abort"
    assert "error" in client.delete("/imagine/requests/pending").json()
    deleted = client.delete(f"/imagine/deleteImagine/{one}").json()
    assert deleted == {"success": "Item deleted successfully", "id": one}
    assert client.get(f"/imagine/requests/{one}").status_code == 404
    assert sandbox.report()["charged"]["blockadelabs"] == 0


def test_cap_on_pending_jobs(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(pending_caps={"blockadelabs": 1})
    callers.made("blockadelabs")
    assert callers.create("blockadelabs").status_code == 429
    assert len(callers.listed("blockadelabs")) == 1
    sandbox.advance(11)
    assert callers.create("blockadelabs").is_success

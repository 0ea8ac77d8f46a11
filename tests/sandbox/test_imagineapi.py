"""ImagineAPI against its page and against Directus' habits."""

from __future__ import annotations

from typing import Any

import httpx

from prefect_imagine.sandbox import RunningSandbox

from .callers import Callers

FORBIDDEN = {
    "errors": [{"message": "You don't have permission to access this.", "extensions": {"code": "FORBIDDEN"}}]
}


def code_of(response: httpx.Response) -> str:
    return str(response.json()["errors"][0]["extensions"]["code"])


def test_create_and_poll_as_on_the_page(callers: Callers, sandbox: RunningSandbox) -> None:
    client = callers.client("imagineapi")
    created = client.post("/items/images/", json={"prompt": "a lake", "ref": "item:1"})
    assert created.status_code == 200
    record = created.json()["data"]
    assert (record["status"], record["ref"], record["url"]) == ("pending", "item:1", None)

    seen = []
    for seconds in (0, 1.5, 3, 6):
        sandbox.advance(seconds)
        now = callers.read("imagineapi", record["id"])
        given = {name for name in ("progress", "url", "upscaled_urls") if now[name] is not None}
        seen.append((now["status"], given))
    assert seen == [
        ("pending", set()),
        ("pending", set()),
        ("in-progress", {"progress", "url"}),
        ("completed", {"url", "upscaled_urls"}),
    ]
    assert len(now["upscaled_urls"]) == 4


def test_one_status_more_than_on_the_page(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(imagineapi_queued=True)
    job = callers.made("imagineapi")
    sandbox.advance(1.5)
    assert callers.read("imagineapi", job)["status"] == "queued"
    sandbox.configure(imagineapi_queued=False)
    assert callers.read("imagineapi", job)["status"] == "pending"


def test_files_are_open_to_whoever_knows_their_address(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client
) -> None:
    job = callers.made("imagineapi")
    sandbox.advance(5)
    unfinished = http.get(callers.read("imagineapi", job)["url"])
    sandbox.advance(6)
    url = callers.media_url("imagineapi", job)
    assert url.startswith(f"{sandbox.base_urls['imagineapi']}/assets/")
    finished = http.get(url)
    assert finished.headers["Content-Type"] == "image/png"
    assert finished.content != unfinished.content
    assert callers.client("imagineapi").get(url).content == finished.content
    assert http.get(url, headers={"Authorization": "Bearer no"}).status_code == 401
    assert http.get(url.replace(job[:8], "00000000")).status_code == 403
    assert sandbox.report()["credential_leaks"] == 0


def test_files_can_need_the_token(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.configure(imagineapi_assets_need_token=True)
    job = callers.made("imagineapi")
    sandbox.advance(11)
    url = callers.media_url("imagineapi", job)
    assert (http.get(url).status_code, http.get(url).json()) == (403, FORBIDDEN)
    assert callers.client("imagineapi", "-other").get(url).status_code == 403
    assert callers.client("imagineapi").get(url).is_success


def test_files_can_take_from_the_key_s_rate_limit(callers: Callers, sandbox: RunningSandbox) -> None:
    job = callers.made("imagineapi")
    sandbox.advance(11)
    url = callers.media_url("imagineapi", job)
    sandbox.configure(rate_limits={"imagineapi": {"limit": 2, "window_seconds": 60}})
    assert [callers.client("imagineapi").get(url).status_code for _ in range(3)] == [200] * 3
    sandbox.configure(media_limited=True)
    assert [callers.client("imagineapi").get(url).status_code for _ in range(2)] == [200] * 2
    refused = callers.client("imagineapi").get(url)
    assert (refused.status_code, code_of(refused)) == (429, "REQUESTS_EXCEEDED")
    assert refused.headers["Retry-After"] == "60"
    assert callers.client("imagineapi").get("/status").status_code == 429
    assert callers.client("imagineapi", "-other").get(url).is_success
    assert sandbox.report()["requests"]["imagineapi"]["rate_limited"] == 2


def test_missing_rows_and_wrong_tokens(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = callers.made("imagineapi")
    url = f"{sandbox.base_urls['imagineapi']}/items/images/{job}"
    assert code_of(http.get(url)) == "FORBIDDEN"
    wrong = http.get(url, headers={"Authorization": "Bearer no"})
    assert (wrong.status_code, code_of(wrong)) == (401, "INVALID_CREDENTIALS")
    other = callers.client("imagineapi", "-other").get(f"/items/images/{job}")
    assert (other.status_code, code_of(other)) == (403, "FORBIDDEN")
    lost = callers.client("imagineapi").get("/items/nothing")
    assert (lost.status_code, code_of(lost)) == (404, "ROUTE_NOT_FOUND")


def test_filters_limits_and_order(callers: Callers) -> None:
    ids = [callers.made("imagineapi", f"p{number}", ref=f"r{number}") for number in range(105)]
    assert len(callers.listed("imagineapi")) == 100
    assert len(callers.listed("imagineapi", limit=-1)) == 105
    assert [one["id"] for one in callers.listed("imagineapi", limit=-1)] != ids
    newest = callers.listed("imagineapi", sort="-date_created", limit=2, offset=1)
    assert [one["prompt"] for one in newest] == ["p103", "p102"]
    assert len(callers.listed("imagineapi", page=2)) == 5
    wanted: dict[str, Any] = {"filter[id][_in]": ",".join([ids[3], "absent", ids[5]]), "limit": -1}
    assert {one["id"] for one in callers.listed("imagineapi", **wanted)} == {ids[3], ids[5]}
    assert [one["id"] for one in callers.listed("imagineapi", **{"filter[ref][_eq]": "r7"})] == [ids[7]]
    assert [one["id"] for one in callers.listed("imagineapi", **{"filter[prompt][_eq]": "p9"})] == [ids[9]]
    as_json = '{"ref": {"_in": ["r1", "r2"]}}'
    assert {one["ref"] for one in callers.listed("imagineapi", filter=as_json)} == {"r1", "r2"}


def test_a_server_s_own_maximum_of_rows(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(query_limit_max=3)
    for number in range(5):
        callers.made("imagineapi", f"p{number}")
    queries: list[dict[str, Any]] = [{}, {"limit": -1}, {"limit": 3}]
    for query in queries:
        assert len(callers.listed("imagineapi", **query)) == 3
    assert len(callers.listed("imagineapi", limit=-1, page=2)) == 2
    refused = callers.client("imagineapi").get("/items/images", params={"limit": 4})
    reason = '"limit" must be less than or equal to 3'
    extensions = {"reason": reason, "code": "INVALID_QUERY"}
    assert refused.status_code == 400
    assert refused.json() == {"errors": [{"message": f"Invalid query. {reason}.", "extensions": extensions}]}


def test_self_hosted_has_no_ref(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(imagineapi_has_ref=False)
    refused = callers.create("imagineapi", ref="x")
    assert (refused.status_code, refused.json()) == (403, FORBIDDEN)
    assert sandbox.books.jobs == []
    assert "ref" not in callers.create("imagineapi").json()["data"]
    hidden = callers.client("imagineapi").get("/items/images", params={"filter[ref][_eq]": "x"})
    assert (hidden.status_code, hidden.json()) == (403, FORBIDDEN)


def test_banned_prompts_fail_later(callers: Callers, sandbox: RunningSandbox) -> None:
    job = callers.made("imagineapi", "some forbidden-content")
    sandbox.advance(11)
    record = callers.read("imagineapi", job)
    assert (record["status"], record["error"]) == ("failed", "Banned prompt detected")


def test_status_and_delete(callers: Callers, sandbox: RunningSandbox) -> None:
    client = callers.client("imagineapi")
    assert client.get("/items/status").json()["data"]["status"] == "ok"
    assert client.get("/status").is_success
    job = callers.made("imagineapi")
    assert client.delete(f"/items/images/{job}").status_code == 403
    sandbox.advance(86_401)
    assert client.delete(f"/items/images/{job}").status_code == 204
    assert callers.listed("imagineapi") == []


def test_a_prompt_is_required(callers: Callers) -> None:
    refused = callers.create("imagineapi", "")
    assert (refused.status_code, code_of(refused)) == (400, "FAILED_VALIDATION")

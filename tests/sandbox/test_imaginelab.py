"""ImagineLab against its page."""

from __future__ import annotations

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox

from .callers import Callers


def login(http: httpx.Client, sandbox: RunningSandbox, email: str = "you@example.com") -> httpx.Response:
    url = sandbox.base_urls["imaginelab"] + "/auth/login"
    return http.post(url, data={"username": email, "password": "sandbox"})


def test_login_create_poll_and_read_as_on_the_page(http: httpx.Client, sandbox: RunningSandbox) -> None:
    answer = login(http, sandbox).json()
    assert set(answer) == {"access_token", "token_type"}
    assert answer["token_type"] == "bearer"
    assert answer["access_token"].startswith("eyJ")
    base = sandbox.base_urls["imaginelab"]
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    body = {
        "generation_type": "image",
        "model_name": "seedream-5.0-lite",
        "prompt": "A neon city skyline at dusk",
        "settings": {"aspect_ratio": "16:9"},
        "project_id": None,
    }
    created = http.post(f"{base}/generations", headers=headers, json=body)
    assert created.status_code == 201
    record = created.json()
    expected = {
        "id": 1842,
        "user_id": 17,
        "generation_type": "image",
        "model_name": "seedream-5.0-lite",
        "prompt": "A neon city skyline at dusk",
        "status": "pending",
        "credit_cost": 5,
        "outputs": [],
    }
    assert expected.items() <= record.items()
    assert record["created_at"].endswith("Z")

    sandbox.advance(5)
    status = http.get(f"{base}/generations/1842/status", headers=headers).json()
    assert status == {"id": 1842, "status": "processing", "progress": status["progress"]}
    assert 0 < status["progress"] < 100
    sandbox.advance(6)
    status = http.get(f"{base}/generations/1842/status", headers=headers).json()
    assert status == {"id": 1842, "status": "completed", "progress": 100}
    outputs = http.get(f"{base}/generations/1842", headers=headers).json()["outputs"]
    assert http.get(outputs[0]["url"]).headers["Content-Type"] == "image/png"


def test_refuses_wrong_logins_and_tokens(http: httpx.Client, sandbox: RunningSandbox) -> None:
    base = sandbox.base_urls["imaginelab"]
    wrong = http.post(f"{base}/auth/login", data={"username": "you@example.com", "password": "no"})
    assert (wrong.status_code, set(wrong.json())) == (401, {"detail"})
    assert http.post(f"{base}/auth/login", json={"username": "you@example.com"}).status_code == 422
    assert http.get(f"{base}/auth/me").status_code == 401
    assert http.get(f"{base}/auth/me", headers={"Authorization": "Bearer no"}).status_code == 401


def test_tokens_expire(http: httpx.Client, sandbox: RunningSandbox) -> None:
    sandbox.configure(token_seconds=60)
    headers = {"Authorization": f"Bearer {login(http, sandbox).json()['access_token']}"}
    me = sandbox.base_urls["imaginelab"] + "/auth/me"
    assert http.get(me, headers=headers).json()["email"] == "you@example.com"
    sandbox.advance(61)
    assert http.get(me, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("kind", "cost"),
    [("text", 2), ("voice", 3), ("image", 5), ("music", 8), ("infographic", 10), ("video", 15)],
)
def test_kinds_cost_what_the_table_says(callers: Callers, kind: str, cost: int) -> None:
    models = callers.client("imaginelab").get("/generations/models").json()
    name = next(one["model_name"] for one in models if one["generation_type"] == kind)
    created = callers.create("imaginelab", generation_type=kind, model_name=name).json()
    assert created["credit_cost"] == cost


def test_wallet_reserves_refunds_and_runs_out(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(credits={"imaginelab": 12})
    wallet = callers.client("imaginelab")
    failing = callers.made("imaginelab", "fail-job please")
    callers.made("imaginelab")
    assert wallet.get("/credits/wallet").json()["balance"] == 2
    refused = callers.create("imaginelab")
    assert (refused.status_code, refused.json()) == (402, {"detail": "Insufficient credits"})
    sandbox.advance(11)
    assert wallet.get("/credits/wallet").json()["balance"] == 7
    record = callers.read("imaginelab", failing)
    assert (record["status"], record["credit_cost"]) == ("failed", 0)
    assert record["error_message"]


def test_failed_jobs_stay_charged_when_told_so(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(refund_failed=False)
    job = callers.made("imaginelab", "fail-job please")
    sandbox.advance(11)
    assert callers.read("imaginelab", job)["credit_cost"] == 5
    assert sandbox.report()["charged"]["imaginelab"] == 5


def test_bad_bodies(callers: Callers) -> None:
    client = callers.client("imaginelab")
    detail = client.post("/generations", json={"prompt": 3}).json()["detail"]
    assert {tuple(one["loc"]) for one in detail} == {
        ("body", "generation_type"),
        ("body", "model_name"),
        ("body", "prompt"),
    }
    assert client.post("/generations", content=b"{").status_code == 422
    assert callers.create("imaginelab", model_name="nonesuch").status_code == 400
    assert callers.create("imaginelab", "forbidden-content").status_code == 400


def test_text_is_an_output(callers: Callers, sandbox: RunningSandbox) -> None:
    text = {"generation_type": "text", "model_name": "scribe-3-mini"}
    job = callers.made("imaginelab", "on rain", **text)
    sandbox.advance(11)
    content = callers.read("imaginelab", job)["outputs"][0]["content"]
    assert content.startswith("on rain")
    sandbox.configure(imaginelab_outputs="strings")
    assert callers.read("imaginelab", job)["outputs"] == [content]
    assert sandbox.report()["jobs"][0]["outputs"][0]["text"] == content


def test_history_modes(callers: Callers, sandbox: RunningSandbox) -> None:
    for number in range(25):
        callers.made("imaginelab", f"p{number}")
    client = callers.client("imaginelab")
    assert [one["prompt"] for one in callers.listed("imaginelab", limit=2, offset=1)] == ["p23", "p22"]
    assert len(callers.listed("imaginelab")) == 20
    sandbox.configure(history_mode="items")
    page = client.get("/generations", params={"limit": 3}).json()
    assert (len(page["items"]), page["total"]) == (3, 25)
    sandbox.configure(history_mode="unpaged")
    assert len(callers.listed("imaginelab", limit=2)) == 25
    sandbox.configure(history_mode="capped")
    assert callers.listed("imaginelab", offset=10)[0]["prompt"] == "p24"
    sandbox.configure(history_mode="missing")
    assert client.get("/generations").status_code == 404


def test_delete_hides_but_does_not_refund(callers: Callers, sandbox: RunningSandbox) -> None:
    job = callers.made("imaginelab")
    assert callers.client("imaginelab").delete(f"/generations/{job}").status_code == 200
    assert callers.client("imaginelab").get(f"/generations/{job}").status_code == 404
    assert callers.listed("imaginelab") == []
    assert sandbox.report()["charged"]["imaginelab"] == 5

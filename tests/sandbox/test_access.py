"""Keys that may not do everything: lists refused, or whatever reads, while creates are taken and paid."""

from __future__ import annotations

import pytest

from prefect_imagine.sandbox import RunningSandbox

from .callers import CREATES, LISTS, READS, Callers


@pytest.mark.parametrize("provider", CREATES)
def test_lists_refused_and_records_not(callers: Callers, sandbox: RunningSandbox, provider: str) -> None:
    sandbox.configure(access={provider: "no_lists"})
    job = callers.made(provider)
    assert str(callers.read(provider, job)["id"]) == job
    assert callers.client(provider).get(LISTS[provider]).status_code == 403
    assert sandbox.report()["requests"][provider]["list"] == 1


@pytest.mark.parametrize("provider", CREATES)
def test_everything_that_reads_refused(callers: Callers, sandbox: RunningSandbox, provider: str) -> None:
    sandbox.configure(access={provider: "no_reads"})
    assert callers.create(provider).is_success
    [job] = sandbox.books.jobs
    for path in (LISTS[provider], READS[provider].format(job.id)):
        refused = callers.client(provider).get(path)
        assert refused.status_code == 403
        assert set(refused.json()) <= {"detail", "error", "errors"}
    sandbox.configure(access={provider: "full"})
    assert len(callers.listed(provider)) == 1


def test_directus_shows_no_row_that_may_not_be_read(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(access={"imagineapi": "no_reads"})
    created = callers.create("imagineapi")
    assert (created.status_code, created.content) == (204, b"")
    assert sandbox.report()["charged"]["imagineapi"] == 1


def test_ai_visual_studio_names_the_scope(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(access={"aivisualstudio": "no_lists"})
    error = callers.client("aivisualstudio").get("/generations").json()["error"]
    assert (error["code"], error["details"]["required"]) == ("insufficient_scope", "read")


def test_one_provider_s_access_leaves_the_others_alone(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(access={"imagineapi": "no_lists"})
    sandbox.configure(access={"aivisualstudio": "no_reads"})
    assert sandbox.settings.access["imagineapi"] == "no_lists"
    assert callers.listed("blockadelabs") == []
    with pytest.raises(ValueError, match="access must be"):
        sandbox.configure(access={"imagineapi": "none"})

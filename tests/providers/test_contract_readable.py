"""Keys that may create but not list, or not read: found out before anything is paid for. And page sizes."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_imagine.errors import AmbiguousCreateError, AuthenticationError

from .clients import CREATES, LISTS, READS, OpenClient, asked, error_of, pages_of, rows_of
from .scripted import Answer, ScriptedApi, answer, text_answer

SCOPE = {
    "imaginelab": {"detail": "Not enough permissions"},
    "blockadelabs": {"error": "Account does not have access to this method"},
    "imagineapi": {"errors": [{"message": "You don't have permission", "extensions": {"code": "FORBIDDEN"}}]},
    "aivisualstudio": {"error": {"code": "insufficient_scope", "message": "Scope is missing"}},
}
TOO_MANY = {
    "imaginelab": {"detail": [{"loc": ["query", "limit"], "msg": "must be less than or equal to 30"}]},
    "blockadelabs": {"error": "The limit may not be greater than 30."},
    "imagineapi": {
        "errors": [
            {
                "message": 'Invalid query. "limit" must be less than or equal to 30',
                "extensions": {"code": "INVALID_QUERY"},
            }
        ]
    },
    "aivisualstudio": {"error": {"code": "invalid_request", "message": "limit must be at most 30"}},
}


async def test_a_key_that_may_list_is_proven_by_one_request(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(LISTS[provider], answer({"data": []}))
    client = open_client(provider, api.url)
    assert await client.check_results()
    assert not client.lists_refused
    assert len(api.seen) == 1


async def test_a_key_that_may_not_list_looks_at_each_and_asks_for_no_list_again(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(LISTS[provider], answer(SCOPE[provider], 403))
    for number in range(4):
        api.on(READS[provider].format(number), answer({"id": number, "status": "processing"}))
    client = open_client(provider, api.url)
    assert not await client.check_results()
    assert client.lists_refused
    assert (await client.poll(["1", "2", "3"])).keys() == {"1", "2", "3"}
    assert api.count(LISTS[provider]) == 1


async def test_a_key_that_is_found_not_to_list_while_it_polls_looks_at_each(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(LISTS[provider], answer(SCOPE[provider], 403))
    for number in range(4):
        api.on(READS[provider].format(number), answer({"id": number, "status": "processing"}))
    assert (await open_client(provider, api.url).poll(["1", "2", "3"])).keys() == {"1", "2", "3"}


@pytest.mark.parametrize("provider", ["imaginelab", "blockadelabs", "aivisualstudio"])
async def test_a_key_that_may_read_nothing_is_refused(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    """Directus does not tell what is not there from what may not be read: there the first create tells."""
    api.default = answer(SCOPE[provider], 403)
    with pytest.raises(AuthenticationError, match="may not read generations"):
        await open_client(provider, api.url).check_results()


@pytest.mark.parametrize("refusal", [answer({}, 404), answer({"message": "no"}, 400), text_answer("?")])
async def test_a_list_of_no_use_says_nothing_of_the_key(
    api: ScriptedApi, open_client: OpenClient, provider: str, refusal: Answer
) -> None:
    api.on(LISTS[provider], refusal)
    client = open_client(provider, api.url)
    assert isinstance(await client.check_results(), bool)
    assert not client.lists_refused


async def test_an_empty_success_is_told_from_a_lost_answer(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(CREATES[provider], text_answer("", 204), text_answer("", 502))
    client = open_client(provider, api.url)
    told = [await error_of(client.create(asked(provider))) for _ in range(2)]
    assert [each.answered for each in told if isinstance(each, AmbiguousCreateError)] == [True, False]


def limited(provider: str, rows: list[dict[str, Any]]) -> Answer:
    """A list that gives at most thirty rows at once, and refuses to be asked for more."""

    async def give(request: Any) -> Any:
        limit, offset = int(request.query["limit"]), int(request.query.get("offset", 0))
        if limit > 30:
            return await answer(TOO_MANY[provider], 400)(request)
        start = offset * limit if provider == "blockadelabs" else offset
        return await answer({"data": rows[start : start + limit]})(request)

    return give


async def test_the_page_size_that_a_server_takes_is_learned_once(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(LISTS[provider], limited(provider, [{"id": number} for number in range(70)]))
    client = open_client(provider, api.url)
    for asked_for in (5, 4):
        before = len(api.seen)
        assert len(rows_of(await pages_of(client))) == 70
        assert len(api.seen) - before == asked_for

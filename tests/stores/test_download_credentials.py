"""Whom a download gives credentials to, and what is said where that is nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_imagine.stores import Downloader, DownloadPolicy
from tests.stores.origin import Handler, Origin, redirect, status, whole
from tests.stores.test_download import PICTURE, fetch, policy, refused

__all__ = ["policy"]


def test_credentials_stay_with_the_api(
    downloader: Downloader, origin: Origin, other_origin: Origin, policy: DownloadPolicy
) -> None:
    first = replace(policy, auth_first=True)
    elsewhere = other_origin.serve("/cdn", whole(PICTURE))
    assert fetch(downloader, origin.serve("/to-cdn", redirect(elsewhere)), first) == PICTURE
    assert origin.asked("/to-cdn")[0]["Authorization"] == "Bearer key"
    assert "Authorization" not in other_origin.asked("/cdn")[0]


def test_credentials_are_not_sent_to_where_a_stranger_leads(
    downloader: Downloader, origin: Origin, other_origin: Origin, policy: DownloadPolicy
) -> None:
    home = origin.serve("/home", whole(PICTURE))
    url = other_origin.serve("/stranger", redirect(home))
    assert fetch(downloader, url, replace(policy, auth_first=True)) == PICTURE
    assert "Authorization" not in origin.asked("/home")[0]


def test_credentials_are_sent_once_they_are_asked_for(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy
) -> None:
    def answer(handler: Handler) -> None:
        (whole(PICTURE) if handler.headers.get("Authorization") == "Bearer key" else status(401))(handler)

    assert fetch(downloader, origin.serve("/guarded", answer), policy) == PICTURE
    assert ["Authorization" in headers for headers in origin.asked("/guarded")] == [False, True]


@pytest.mark.parametrize("code", [401, 403])
def test_media_of_another_origin_that_want_the_key_name_both_origins(
    downloader: Downloader, origin: Origin, other_origin: Origin, policy: DownloadPolicy, code: int
) -> None:
    url = other_origin.serve("/assets/1", status(code)) + "?token=SECRET"
    error = refused(downloader, url, policy)
    assert error.reason == "expired"
    for said in (f"{other_origin.base} was", f"for {origin.base} only", "PUBLIC_URL", "<PROVIDER>_BASE_URL"):
        assert said in str(error)
    assert "SECRET" not in str(error)


def test_origins_are_not_blamed_where_they_are_not_the_reason(
    downloader: Downloader, origin: Origin, other_origin: Origin, policy: DownloadPolicy
) -> None:
    elsewhere = other_origin.serve("/assets/2", status(403))
    for url, which in (
        (origin.serve("/own", status(403)), policy),
        (origin.serve("/leads-away", redirect(elsewhere)), policy),
        (elsewhere, replace(policy, auth_headers={})),
        (other_origin.serve("/assets/3", status(410)), policy),
    ):
        assert "PUBLIC_URL" not in str(refused(downloader, url, which))


def test_cookies_are_not_kept(downloader: Downloader, origin: Origin, policy: DownloadPolicy) -> None:
    url = origin.serve("/cookie", redirect("/taste"))
    origin.answers["/cookie"] = status(302, Location="/taste", Set_Cookie="who=me; Path=/")
    origin.serve("/taste", whole(PICTURE))
    fetch(downloader, url, policy)
    assert "Cookie" not in origin.asked("/taste")[0]

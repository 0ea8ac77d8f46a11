"""A report of more items than one page holds: it opens at once, and finds all of them all the same."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from prefect_imagine.reports.report_page import FIRST, ONE_PAGE
from prefect_imagine.reports.report_writer import write_report
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Store, open_store
from tests.browser.conftest import Problems, Serve
from tests.browser.report_batches import large
from tests.reports.report_items import usage_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("problems"),
]
COUNT = FIRST + ONE_PAGE + 300


PICTURES = r"1\.(jpg|webp)"
"""There are none: what is looked at here is the page."""


def written(store: Store, *, presign: bool = False) -> str:
    """Put the report of a large batch, and return where a person opens it."""
    items = large(COUNT)
    write_report(store, "b", items, usage_of(items), presign=presign)
    return store.link("b/report.html")


async def check_whole(page: Page) -> None:
    """Every item is found, by number, by filter and by address."""
    matches = page.locator("#found")
    await expect(matches).to_have_text(f"{COUNT:,} items")
    assert await page.locator(".card").count() < 200
    await page.get_by_role("searchbox").fill(f"picture {COUNT}:")
    await expect(matches).to_have_text(f"1 of {COUNT:,}")
    await expect(page.locator(".card .index")).to_have_text(str(COUNT))
    await page.get_by_role("searchbox").fill("")
    await page.get_by_role("combobox", name="status").select_option("failed")
    await expect(matches).to_have_text(f"{COUNT // 50} of {COUNT:,}")
    await page.get_by_role("button", name="Clear").click()
    await page.locator(".card").first.focus()
    await page.keyboard.press("End")
    await expect(page.locator(".card .index").last).to_have_text(str(COUNT))


async def test_it_opens_from_a_folder(page: Page, tmp_path: Path, problems: Problems) -> None:
    problems.ignore(PICTURES)
    with closing(open_store(str(tmp_path))) as store:
        address = Path(written(store)).as_uri()
        page_itself = store.head("b/report.html")
    assert page_itself is not None
    assert page_itself.size < 1_000_000
    await page.goto(address)
    await check_whole(page)
    await page.goto("about:blank")
    await page.goto(f"{address}#item={COUNT}")
    await expect(page.locator("dialog .prompt")).to_contain_text(f"Picture {COUNT}:")


async def test_it_has_opened_before_the_rest_is_asked_for(
    page: Page, tmp_path: Path, serve: Serve, problems: Problems
) -> None:
    problems.ignore(PICTURES)
    with closing(open_store(str(tmp_path))) as store:
        written(store)
    await page.goto(f"{serve(tmp_path / 'b')}/report.html")
    await expect(page.locator("#found")).to_have_text(f"{COUNT:,} items")
    begun, opened = await page.evaluate(
        """[
          performance.getEntriesByType("resource").filter((each) => each.name.includes("/report/"))
            .map((each) => each.startTime),
          performance.getEntriesByType("navigation")[0].loadEventStart,
        ]"""
    )
    assert len(begun) == 2
    assert min(begun) >= opened > 0


@pytest.mark.parametrize("signed", [True, False], ids=["signed data pages", "beside the page"])
async def test_it_opens_from_a_bucket(
    page: Page, aws: S3Server, tmp_path: Path, problems: Problems, signed: bool
) -> None:
    problems.ignore(PICTURES)
    problems.ignore(r"0001\.js")
    with closing(open_store(f"s3://{aws.make_bucket()}/art")) as store:
        address = written(store, presign=signed)
        if signed:
            await page.goto(address)
            await check_whole(page)
        else:
            await page.goto(address)  # nobody may read the data pages without a signature
            await expect(page.locator("#found")).to_contain_text("could not be loaded")
            await expect(page.locator(".card").first).to_be_visible()


async def test_a_lost_data_page_is_said_and_leaves_the_others(
    page: Page, tmp_path: Path, problems: Problems
) -> None:
    problems.ignore(PICTURES)
    problems.ignore(r"0002\.js")
    with closing(open_store(str(tmp_path))) as store:
        address = Path(written(store)).as_uri()
        store.delete("b/report/0002.js")
    await page.goto(address)
    loaded = FIRST + ONE_PAGE
    await expect(page.locator("#found")).to_have_text(
        re.compile(rf"{loaded:,} of {COUNT:,}; items from {loaded + 1} on could not be loaded")
    )

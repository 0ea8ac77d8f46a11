"""The documentation's site as its readers use it: with a search, light and dark, at a desk and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Problems, QuietHandler
from tests.documents.site import Crawled, build_site, crawl

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("problems"),
]
PHONE = {"width": 375, "height": 720}
OUTSIDE = """() => [...document.querySelectorAll("main *")].filter((element) =>
  element.checkVisibility() && !element.closest(".md-typeset__scrollwrap, pre, .md-sidebar")
  && element.getBoundingClientRect().right > innerWidth + 1
).map((element) => element.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the built site is served."""
    folder = tmp_path_factory.mktemp("site")
    built = build_site(folder)
    assert built.returncode == 0, built.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def crawled(address: str) -> Crawled:
    """All that its first page leads to."""
    return crawl(address)


async def test_no_link_is_dead_and_nothing_is_loaded_from_elsewhere(crawled: Crawled) -> None:
    assert crawled.dead == []
    assert len(crawled.pages) > 25
    for path, page in crawled.pages.items():
        loaded = [link for link in page.links if re.match(r"https?:.*\.(js|css|png|svg|woff2)", link)]
        assert loaded == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_fits_a_phone(page: Page, address: str, crawled: Crawled, scheme: str) -> None:
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    for path in sorted(crawled.pages):
        await page.goto(f"{address}{path}")
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, path
        assert await page.evaluate(OUTSIDE) == [], path
        shown = await page.evaluate("document.body.dataset.mdColorScheme")
        assert shown == {"light": "default", "dark": "slate"}[scheme]


async def test_the_search_finds_budgets(page: Page, address: str) -> None:
    await page.goto(address)
    await expect(page.get_by_text("Type to start searching")).to_be_attached()  # what is typed before is lost
    # Key by key: the page listens to keys, and takes what is set otherwise only by chance.
    await page.get_by_role("textbox", name="Search").press_sequentially("budget")
    found = page.locator(".md-search-result__link", has=page.get_by_role("heading", name="Budgets")).first
    await expect(found).to_be_visible()
    await found.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Budgets")


async def test_a_reader_changes_to_dark_and_it_stays(page: Page, address: str) -> None:
    await page.goto(address)
    await page.locator("label[title='Dark']").click()
    await page.goto(f"{address}/tutorial/")
    await expect(page.locator("body")).to_have_attribute("data-md-color-scheme", "slate")


async def test_the_menu_leads_to_each_kind_of_page(page: Page, address: str, problems: Problems) -> None:
    await page.goto(address)
    tabs = page.locator(".md-tabs__link")
    names = [name.strip() for name in await tabs.all_inner_texts()]
    assert names == ["Home", "Tutorial", "How-to guides", "Reference", "Explanation", "Project"]
    for name in names[1:]:
        await page.locator(".md-tabs").get_by_role("link", name=name).click()
        await expect(page.locator(".md-tabs__item--active")).to_contain_text(name)
    problems.assert_none()

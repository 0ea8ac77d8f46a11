"""The report page as people use it: from a folder or a server, filtered, by keyboard, on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from prefect_imagine.reports.report_page import WHOLE
from tests.browser.conftest import Problems
from tests.browser.report_batches import HOSTILE, hostile, large, mixed, write_batch

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("problems"),
]

OPENED = """window.opened = new Promise((tell) => addEventListener("load", () =>
  requestAnimationFrame(() => requestAnimationFrame(() =>
    tell(document.querySelector(".card").checkVisibility() && performance.now())))))"""

INJECTED = """() => [...document.querySelectorAll("*")].filter((element) =>
  ["IFRAME", "OBJECT", "EMBED", "BASE"].includes(element.tagName)
  || element.getAttributeNames().some((name) => name.startsWith("on"))
  || ["href", "src"].some((name) => /^\\s*javascript:/i.test(element.getAttribute(name)))
  || (element.tagName === "IMG" && element.getAttribute("src") === "x")
).map((element) => element.outerHTML.slice(0, 200))"""

PALE = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, at) => value * top[3] + below[at] * (1 - top[3]));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, behind(element.parentElement));
  };
  const light = (color) => color.map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const pale = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.matches("option, script, :disabled, .tile *")) continue;
    const back = behind(element);
    const [one, other] = [light(over(rgba(style.color), back)), light(back)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const big = parseFloat(style.fontSize) >= 24;
    if (ratio < (big ? 3 : 4.5)) pale.add(`${element.className || element.tagName} ${ratio.toFixed(2)}`);
  }
  return [...pale];
}"""

WIDE = """() => ({
  scrolls: document.documentElement.scrollWidth - innerWidth,
  outside: [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility() && !element.closest(".scroll, .selects, .film, .strip, .sr, svg, select")
    && element.getBoundingClientRect().right > innerWidth + 1
  ).map((element) => element.className || element.tagName),
})"""


@pytest.fixture(params=["file", "http"])
def opened_from(request: pytest.FixtureRequest, serve: Callable[[Path], str]) -> Callable[[Path], str]:
    """The address of a page: as a file and from a server."""
    if request.param == "file":
        return Path.as_uri
    return lambda path: f"{serve(path.parent)}/{path.name}"


@pytest.fixture
def batch(tmp_path: Path) -> str:
    return write_batch(tmp_path, mixed()).as_uri()


async def pick(page: Page, facet: str, value: str) -> None:
    await page.locator(f"select[name={facet}]").select_option(value)


async def test_the_page_opens_without_a_complaint_and_asks_nobody_else(
    page: Page, tmp_path: Path, opened_from: Callable[[Path], str]
) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url.rpartition("/")[2]))
    await page.goto(opened_from(write_batch(tmp_path, mixed())))
    await expect(page.locator(".card")).to_have_count(10)
    await expect(page.locator("h1")).to_have_text("foxes-1")
    await page.locator(".card").last.scroll_into_view_if_needed()
    await expect(page.locator(".card img").first).to_have_js_property("complete", True)
    assert set(requests) <= {"report.html", "1.webp", "2.png", "3.mp4", "4.wav", ","}


async def test_the_sheet_shows_thumbnails_and_the_dialog_the_picture(page: Page, batch: str) -> None:
    await page.goto(batch)
    sheet = page.locator(".card img").first
    await expect(sheet).to_have_attribute("src", "thumbnails/1.webp")
    await sheet.click()
    large_picture = page.locator("dialog .stage > img")
    await expect(large_picture).to_have_attribute("src", "outputs/1.jpg")
    await expect(large_picture).to_have_js_property("naturalWidth", 800)


class TestFilters:
    """Narrowing the sheet."""

    async def test_each_filter_alone(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        for facet, value, items in (
            ("status", "failed", "8"),
            ("status", "unknown", "10"),
            ("provider", "blockadelabs", "4 8 10"),
            ("kind", "video", "5 9"),
            ("model", "seedream", "3"),
            ("label", "campaign=spring", "1 2 8"),
            ("label", "client=northwind", "3 4"),
            ("reason", "moderation", "8"),
        ):
            await pick(page, facet, value)
            await expect(page.locator(".card .index")).to_have_text(items.split())
            await expect(page.locator("#found")).to_have_text(f"{len(items.split())} of 10")
            await pick(page, facet, "")

    async def test_filters_combine_and_clear(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await pick(page, "provider", "blockadelabs")
        await pick(page, "label", "campaign=worlds")
        await expect(page.locator(".card .index")).to_have_text(["4"])
        await pick(page, "status", "failed")
        await expect(page.locator("#nothing")).to_be_visible()
        await page.get_by_role("button", name="Clear").click()
        await expect(page.locator(".card")).to_have_count(10)

    async def test_search(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        for words, items in (
            ("canoe", "1"),
            ("HERON", "3"),
            ("second CLIP", "9"),
            ("flagged", "8"),
            ("maps", "7"),
            ("northwind", "3 4"),
        ):
            await page.get_by_role("searchbox").fill(words)
            await expect(page.locator(".card .index")).to_have_text(items.split())

    async def test_an_address_keeps_the_filters(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await pick(page, "kind", "video")
        await page.get_by_role("searchbox").fill("fields")
        await expect(page.locator(".card")).to_have_count(1)
        await page.wait_for_url("**#q=fields&kind=video")
        await page.reload()
        await expect(page.locator(".card .index")).to_have_text(["5"])

    async def test_counts_and_reasons_lead_to_their_items(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await page.locator(".legend .unknown").click()
        await expect(page.locator(".card .index")).to_have_text(["10"])
        await page.locator(".reason", has_text="moderation").click()
        await expect(page.locator(".card .index")).to_have_text(["8"])
        await page.locator("#failures ul ul a").first.click()
        await expect(page.locator("dialog")).to_be_visible()


class TestKeyboard:
    """Everything without a mouse."""

    async def test_from_the_search_to_an_item_and_back(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await expect(page.locator(".card").nth(0)).to_be_focused()
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Enter")
        dialog = page.locator("dialog")
        await expect(dialog.locator(".index")).to_have_text("2")
        await page.keyboard.press("ArrowRight")
        await expect(dialog.locator(".index")).to_have_text("3")
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(page.locator(".card").nth(2)).to_be_focused()
        await page.keyboard.press("End")
        await expect(page.locator(".card").nth(9)).to_be_focused()

    async def test_tab_reaches_every_filter_and_one_card(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await page.get_by_role("searchbox").focus()
        reached = []
        for _ in range(9):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate("document.activeElement.name || document.activeElement.className")
            )
        facets = ["status", "provider", "kind", "model", "label", "reason"]
        assert reached == [*facets, "quiet", "quiet", "card stored"]

    async def test_a_chart_is_read_by_arrow_keys_and_by_mouse(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        plot = page.locator(".plot").first
        await plot.focus()
        await page.keyboard.press("End")
        tip = plot.get_by_role("status")
        await expect(tip.locator("dd")).to_have_text(["2", "14", "15"])
        await page.keyboard.press("Home")
        await expect(tip.locator("dd")).to_have_text(["0", "0", "0"])
        await plot.hover()
        await expect(tip).to_be_visible()
        await page.mouse.move(0, 0)
        await expect(tip).to_be_hidden()


async def test_one_player_plays_at_a_time(page: Page, batch: str) -> None:
    await page.goto(batch)
    buttons = page.get_by_role("button", name="Play 3.mp4")
    await expect(buttons).to_have_count(2)
    await buttons.first.click()
    clips = page.locator(".card video")
    await expect(clips.first).to_have_js_property("paused", False)
    await buttons.first.click()
    await expect(clips.last).to_have_js_property("paused", False)
    await expect(clips.first).to_have_js_property("paused", True)
    assert await clips.first.evaluate("video => video.currentTime") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read_in_light_and_dark(page: Page, batch: str, scheme: Any) -> None:
    await page.emulate_media(color_scheme=scheme)
    await page.goto(batch)
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(247, 246, 243)") == (scheme == "light")
    assert await page.evaluate(PALE) == []
    await page.locator(".card").nth(7).press("Enter")
    await expect(page.locator("dialog")).to_be_visible()
    assert await page.evaluate(PALE) == []


async def test_a_chosen_theme_outlives_a_visit(
    page: Page, tmp_path: Path, serve: Callable[[Path], str]
) -> None:
    address = f"{serve(write_batch(tmp_path, mixed()).parent)}/report.html"
    await page.goto(address)
    await page.get_by_role("button", name="Theme: auto").click()
    await page.get_by_role("button", name="Theme: light").click()
    await page.reload()
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 20)"


@pytest.mark.parametrize("made", ["mixed", "hostile"])
async def test_nothing_reaches_beyond_a_narrow_screen(page: Page, tmp_path: Path, made: str) -> None:
    made_up = write_batch(tmp_path, mixed()) if made == "mixed" else write_batch(tmp_path, *hostile())
    await page.goto(made_up.as_uri())
    await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for width in (375, 768):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate(WIDE) == {"scrolls": 0, "outside": []}
        await page.locator(".card").first.press("Enter")
        await expect(page.locator("dialog")).to_be_visible()
        assert await page.evaluate(WIDE) == {"scrolls": 0, "outside": []}
        await page.keyboard.press("Escape")


async def test_the_largest_page_without_data_pages_opens_in_a_second(page: Page, tmp_path: Path) -> None:
    path = write_batch(tmp_path, large(WHOLE))
    assert path.stat().st_size < 2_000_000
    await page.add_init_script(OPENED)
    seconds = []
    for _ in range(5):
        await page.goto(path.as_uri())
        seconds.append(await page.evaluate("window.opened") / 1000)
        if seconds[-1] < 1:
            break
    assert min(seconds) < 1, seconds
    await expect(page.locator("#found")).to_have_text(f"{WHOLE:,} items")
    assert await page.locator(".card").count() < 200
    await page.locator(".card").first.focus()
    await page.keyboard.press("End")
    await expect(page.locator(".card .index").last).to_have_text(str(WHOLE))


class TestHostileText:
    """What comes from outside stays text."""

    async def test_it_does_nothing_anywhere(
        self, page: Page, tmp_path: Path, opened_from: Callable[[Path], str]
    ) -> None:
        await page.goto(opened_from(write_batch(tmp_path, *hostile())))
        cards = page.locator(".card")
        await expect(cards).to_have_count(len(HOSTILE) + 1)
        for place, text in enumerate(HOSTILE):
            assert await cards.nth(place).locator(".prompt").text_content() == text
            await cards.nth(place).press("Enter")
            assert await page.locator("dialog .prompt").text_content() == text
            assert await page.evaluate(INJECTED) == []
            await page.keyboard.press("Escape")
            await expect(page).not_to_have_url(re.compile("item="))
        await page.locator(".plot").first.press("End")
        await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert await page.evaluate(INJECTED) == []
        assert await page.locator("script").count() == 3
        assert await page.evaluate("window.pwned") is None

    async def test_filters_find_it(self, page: Page, tmp_path: Path) -> None:
        await page.goto(write_batch(tmp_path, *hostile()).as_uri())
        for text in HOSTILE:
            await pick(page, "label", f"{text}={text}")
            await pick(page, "model", text)
            await expect(page.locator(".card .prompt")).to_have_count(1)
            assert await page.locator(".card .prompt").text_content() == text
            await page.get_by_role("button", name="Clear").click()
        assert await page.evaluate(INJECTED) == []
        assert await page.evaluate("window.pwned") is None

    async def test_addresses_that_are_scripts_are_not_linked(self, page: Page, tmp_path: Path) -> None:
        scripts = dict.fromkeys(("outputs/1.jpg", "thumbnails/1.webp"), "javascript:window.pwned=1")
        await page.goto(write_batch(tmp_path, mixed(), links=scripts).as_uri())
        await page.locator(".card").first.press("Enter")
        await expect(page.locator("dialog .file")).to_have_text("1.jpg")
        assert await page.evaluate(INJECTED) == []

    async def test_an_address_with_markup_is_only_searched_for(self, page: Page, batch: str) -> None:
        await page.goto(
            f"{batch}#q=%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E&status=%22%3E&item=%3Cb%3E"
        )
        await expect(page.locator("#nothing")).to_be_visible()
        assert await page.evaluate(INJECTED) == []
        assert await page.evaluate("window.pwned") is None


async def test_a_lost_thumbnail_or_picture_leaves_what_there_is(
    page: Page, tmp_path: Path, problems: Problems
) -> None:
    problems.ignore(r"1\.webp|2\.png")
    address = write_batch(tmp_path, mixed()).as_uri()
    for lost in ("thumbnails/1.webp", "outputs/2.png"):
        (tmp_path / lost).unlink()
    await page.goto(address)
    cards = page.locator(".card")
    await cards.nth(2).scroll_into_view_if_needed()
    await expect(cards.nth(0).locator("img")).to_have_attribute("src", "outputs/1.jpg")
    await expect(cards.nth(2).get_by_role("link")).to_have_attribute("href", "outputs/2.png")

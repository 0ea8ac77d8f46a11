"""The same prompt over providers and models, side by side; whole pictures; and the bill on a phone."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from prefect_imagine.reports.report_page import FIRST, ONE_PAGE
from prefect_imagine.reports.report_writer import write_report
from prefect_imagine.stores import open_store
from tests.browser.conftest import Problems, Serve
from tests.browser.report_batches import JPEG, PNG, hostile, large, mixed, over_models, write_batch
from tests.browser.taking import rate
from tests.browser.test_report_page import PALE
from tests.reports.report_items import make_item, usage_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("problems"),
]


class TestSideBySide:
    async def test_it_is_offered_only_where_prompts_have_several_models(
        self, page: Page, tmp_path: Path
    ) -> None:
        offer = page.get_by_role("button", name="Side by side")
        await page.goto(write_batch(tmp_path, mixed()).as_uri())
        await expect(page.locator(".card").first).to_be_visible()
        await expect(offer).to_be_hidden()
        await page.goto(f"{write_batch(tmp_path, over_models()).as_uri()}#view=compare")
        await page.reload()
        await expect(offer).to_have_attribute("aria-pressed", "true")
        await expect(page.locator("#compare tbody tr")).to_have_count(2)

    async def test_rows_are_prompts_and_columns_models_with_credits_and_seconds(
        self, page: Page, tmp_path: Path
    ) -> None:
        await page.goto(write_batch(tmp_path, over_models()).as_uri())
        await page.get_by_role("button", name="Side by side").click()
        table = page.locator("#compare")
        heads = [
            "Prompt",
            "aivisualstudioimage · nano",
            "imaginelabimage · flux",
            "imaginelabimage · seedream",
        ]
        await expect(table.locator("thead th")).to_have_text(heads)
        await expect(table.locator("tbody th")).to_have_text(["a red canoe", "a wooden hut"])
        canoe, hut = (table.locator("tbody tr").nth(row).locator("td") for row in (0, 1))
        await expect(canoe.locator(".costs")).to_have_text(["7charged2possible", "5charged", "3estimated"])
        await expect(canoe.locator(".seconds")).to_have_text(["3 s", "1 s", "2 s"])
        await expect(hut.nth(0)).to_contain_text("flagged")
        await expect(hut.nth(1).locator(".cell")).to_have_count(2)
        await expect(hut.nth(2).locator(".cell")).to_have_count(0)
        await expect(page.locator("#found")).to_have_text("7 items; 2 prompts side by side")
        await page.locator("select[name=model]").select_option("flux")
        await expect(table.locator("thead th")).to_have_text(["Prompt", "imaginelabimage · flux"])

    async def test_it_is_rated_and_opened_by_keyboard(self, page: Page, tmp_path: Path) -> None:
        await page.goto(write_batch(tmp_path, over_models()).as_uri())
        await page.get_by_role("button", name="Side by side").click()
        await rate(page, "Keep item 3")
        opens = page.get_by_role("button", name="Open item 2")
        await opens.focus()
        await page.keyboard.press("r")
        await expect(page.locator("#rated")).to_have_text("1 kept, 1 rejected")
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog .prompt")).to_have_text("a red canoe")
        await page.keyboard.press("Escape")
        await expect(opens).to_be_focused()
        await page.get_by_role("button", name="Side by side").click()
        await expect(page.locator(".card").nth(2)).to_have_attribute("data-rating", "kept")

    async def test_on_a_phone_it_scrolls_within_itself(self, page: Page, tmp_path: Path) -> None:
        await page.set_viewport_size({"width": 360, "height": 800})
        await page.goto(write_batch(tmp_path, over_models()).as_uri())
        await page.get_by_role("button", name="Side by side").click()
        inside = page.locator("#compare")
        assert await inside.evaluate("each => each.scrollWidth > each.clientWidth")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        last = page.get_by_role("button", name="Open item 2")
        await last.scroll_into_view_if_needed()
        await expect(last).to_be_in_viewport()
        assert await inside.evaluate("each => each.scrollLeft") > 0

    async def test_hostile_text_stays_text(self, page: Page, tmp_path: Path) -> None:
        items, _ = hostile()
        twice = [*items, *(make_item(100 + item.index, item.request.prompt) for item in items)]
        await page.goto(write_batch(tmp_path, twice).as_uri())
        await page.get_by_role("button", name="Side by side").click()
        prompts = await page.locator("#compare tbody .prompt").all_text_contents()
        assert prompts == [item.request.prompt for item in items]
        assert await page.evaluate("window.pwned") is None
        assert await page.locator("#compare img[src=x], #compare script").count() == 0

    async def test_a_large_batch_offers_it_once_its_data_pages_have_come(
        self, page: Page, tmp_path: Path, problems: Problems
    ) -> None:
        problems.ignore(r"1\.(jpg|webp)")
        items = large(FIRST + ONE_PAGE)
        same = [make_item(len(items) + 1 + at, "a tie", model=model) for at, model in enumerate("ab")]
        with closing(open_store(str(tmp_path))) as store:
            write_report(store, "b", [*items, *same], usage_of([*items, *same]))
            address = Path(store.link("b/report.html")).as_uri()
        await page.goto(f"{address}#view=compare")
        await expect(page.locator("#compare tbody th")).to_have_text(["a tie"])
        await expect(page.locator("#compare .cell")).to_have_count(2)


async def test_pictures_are_whole_and_nothing_moves_while_they_load(
    page: Page, tmp_path: Path, serve: Serve
) -> None:
    address = serve(
        write_batch(tmp_path, [make_item(1, outputs=(JPEG,)), make_item(2, outputs=(PNG,) * 3)]).parent
    )
    held: list[Route] = []
    both = asyncio.Event()

    async def hold(route: Route) -> None:
        held.append(route)
        both.set()

    await page.route("**/*.webp", hold)
    await page.goto(f"{address}/report.html", wait_until="domcontentloaded")
    await page.locator("#sheet").scroll_into_view_if_needed()
    await asyncio.wait_for(both.wait(), 10)
    boxes = "[...document.querySelectorAll('.card')].map((each) => each.getBoundingClientRect().toJSON())"
    before: Any = await page.evaluate(boxes)
    await asyncio.gather(*(route.continue_() for route in held))
    await page.unroute("**/*.webp")
    await expect(page.locator(".card img").first).to_have_js_property("naturalWidth", 200)
    assert await page.evaluate(boxes) == before
    fits = await page.locator(".card img").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).objectFit)"
    )
    assert set(fits) == {"contain"}


@pytest.mark.parametrize("width", [360, 375, 400])
async def test_the_amounts_of_the_bill_are_seen_on_a_phone(page: Page, tmp_path: Path, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    await page.goto(write_batch(tmp_path, mixed()).as_uri())
    amounts = page.locator(".bill td:is(.charged, .estimated, .possible)")
    usage = usage_of(mixed())
    lines = (*usage.by_provider, *usage.by_model, *usage.by_label)
    assert await amounts.count() == 3 * len(lines)
    places = await amounts.evaluate_all("all => all.map((each) => each.getBoundingClientRect().toJSON())")
    assert all(each["left"] >= 0 and each["right"] <= width and each["width"] > 40 for each in places)
    tables = await page.locator(".bill .scroll").evaluate_all(
        "all => all.map((each) => each.scrollWidth - each.clientWidth)"
    )
    assert set(tables) == {0}
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="imaginelab", exact=True))
    await expect(row.get_by_role("cell").and_(page.locator(".charged"))).to_have_text("31")


UNNAMED = """() => [
  ...document.querySelectorAll("button, input, select, a, [role=region], [role=group]")
].filter((each) =>
  each.checkVisibility() && !each.closest(".film") && !each.textContent.trim() && !each.labels?.length
  && !each.getAttribute("aria-label") && !each.getAttribute("aria-labelledby")
).map((each) => each.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_can_be_read_and_its_controls_have_names(
    page: Page, tmp_path: Path, scheme: Any
) -> None:
    await page.emulate_media(color_scheme=scheme)
    await page.goto(write_batch(tmp_path, over_models()).as_uri())
    await rate(page, "Keep item 1", "Reject item 2")
    for view in ("Compact", "Side by side"):
        await page.get_by_role("button", name=view).click()
        assert await page.evaluate(PALE) == []
        assert await page.evaluate(UNNAMED) == []
    await page.get_by_role("button", name="Open item 4").click()
    assert await page.evaluate(UNNAMED) == []
    await page.locator("#box").get_by_role("button", name="Export…").click()
    await expect(page.get_by_role("dialog", name="Export")).to_be_visible()
    assert await page.evaluate(PALE) == []
    assert await page.evaluate(UNNAMED) == []


async def test_the_export_is_reached_and_left_by_keyboard(page: Page, tmp_path: Path) -> None:
    await page.goto(write_batch(tmp_path, over_models()).as_uri())
    offer = page.get_by_role("button", name="Export…")
    await offer.focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Export")
    await expect(dialog).to_be_visible()
    assert await page.evaluate("document.querySelector('dialog.take').contains(document.activeElement)")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(offer).to_be_focused()

"""Keeping and rejecting on the report page, and what is exported from it: lists, and prompts to run again."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import Defaults, RequestedItem, read_prompts
from prefect_imagine.prompts.templates import variables
from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.reports.manifest import ManifestItem
from prefect_imagine.reports.report_page import FIRST
from prefect_imagine.reports.report_writer import write_report
from prefect_imagine.stores import open_store
from tests.browser.conftest import Problems as PageProblems
from tests.browser.conftest import Serve
from tests.browser.report_batches import JPEG, large, mixed, tricky, write_batch
from tests.browser.taking import copied, export, rate, saved
from tests.reports.report_items import BEGUN, make_item, usage_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("problems"),
]
SANDBOXED = {"Content-Security-Policy": "sandbox allow-scripts allow-downloads"}
"""What gives a page no storage."""


@pytest.fixture
def batch(tmp_path: Path) -> str:
    return write_batch(tmp_path, mixed()).as_uri()


def requests_in(text: bytes) -> list[RequestedItem]:
    """What a prompts file asks for."""
    problems = Problems()
    found = list(read_prompts(io.BytesIO(text), "csv", Defaults(), variables(BEGUN), problems))
    problems.check()
    return found


class TestRatings:
    """Keep, reject, or neither."""

    async def test_a_click_rates_and_another_takes_it_back(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        rated = page.locator("#rated")
        await expect(rated).to_have_text("")
        await rate(page, "Keep item 1", "Keep item 3", "Reject item 2")
        await expect(rated).to_have_text("2 kept, 1 rejected")
        keep = page.get_by_role("button", name="Keep item 1", exact=True)
        await expect(keep).to_have_attribute("aria-pressed", "true")
        await rate(page, "Reject item 1")
        await expect(keep).to_have_attribute("aria-pressed", "false")
        await expect(rated).to_have_text("1 kept, 2 rejected")
        await rate(page, "Reject item 1")
        await expect(rated).to_have_text("1 kept, 1 rejected")

    async def test_keys_rate_the_item_that_has_the_focus(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        rated = page.locator("#rated")
        await page.keyboard.press("k")
        await expect(rated).to_have_text("")
        await page.locator(".card").first.focus()
        await page.keyboard.press("k")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("r")
        await expect(rated).to_have_text("1 kept, 1 rejected")
        await page.keyboard.press("u")
        await expect(rated).to_have_text("1 kept, 0 rejected")
        await page.keyboard.press("Enter")
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("r")
        await expect(page.locator("dialog").get_by_role("button", name="Reject item 3")).to_have_attribute(
            "aria-pressed", "true"
        )
        await page.keyboard.press("Escape")
        await expect(page.locator(".card").nth(2)).to_have_attribute("data-rating", "rejected")
        await page.get_by_role("searchbox").fill("kr")
        await expect(rated).to_have_text("1 kept, 1 rejected")

    async def test_the_large_view_and_the_sheet_agree(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await page.locator(".card").nth(3).press("Enter")
        await page.locator("dialog").get_by_role("button", name="Keep item 4").click()
        await page.keyboard.press("Escape")
        await expect(page.locator(".card").nth(3)).to_have_attribute("data-rating", "kept")

    async def test_fingers_rate_in_every_view(self, chromium: Browser, batch: str) -> None:
        phone = {"width": 375, "height": 800}
        context = await chromium.new_context(viewport=phone, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
        page = await context.new_page()
        await page.goto(batch)
        await page.get_by_role("button", name="Keep item 1", exact=True).tap()
        await page.get_by_role("button", name="Compact").tap()
        await page.get_by_role("button", name="Reject item 2", exact=True).tap()
        await expect(page.locator("#rated")).to_have_text("1 kept, 1 rejected")
        size = await page.get_by_role("button", name="Keep item 1", exact=True).bounding_box()
        assert size is not None
        assert min(size["width"], size["height"]) >= 40
        await context.close()

    async def test_ratings_filter_and_outlive_a_visit(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await expect(page.locator("select[name=rating]")).to_have_count(0)
        await rate(page, "Keep item 1", "Keep item 6", "Reject item 2")
        await page.locator("select[name=rating]").select_option("kept")
        await expect(page.locator(".card .index")).to_have_text(["1", "6"])
        await page.wait_for_url("**rating=kept")
        await page.reload()
        await expect(page.locator(".card .index")).to_have_text(["1", "6"])
        await expect(page.locator("#rated")).to_have_text("2 kept, 1 rejected")
        options = page.locator("select[name=rating]").locator("option")
        await expect(options).to_have_text(["Any rating", "kept (2)", "rejected (1)", "unrated (7)"])

    async def test_another_batch_or_job_has_not_been_rated(
        self, page: Page, tmp_path: Path, batch: str
    ) -> None:
        await page.goto(batch)
        await rate(page, "Keep item 1", "Keep item 3")
        again = [mixed()[0].model_copy(update={"id": "another job"}), *mixed()[1:]]
        await page.goto(write_batch(tmp_path, again).as_uri())
        await page.reload()
        await expect(page.locator("#rated")).to_have_text("1 kept, 0 rejected")
        other = usage_of(mixed()).model_copy(update={"batch_id": "other"})
        await page.goto(write_batch(tmp_path, mixed(), other).as_uri())
        await page.reload()
        await expect(page.locator("#rated")).to_have_text("")

    async def test_without_storage_they_last_as_long_as_the_page_which_says_so(
        self, page: Page, tmp_path: Path, serve: Serve, problems: PageProblems
    ) -> None:
        problems.ignore("AudioContext|sandbox")
        items = [make_item(1), make_item(2)]
        folder = write_batch(tmp_path, items).parent
        await page.goto(f"{serve(folder, SANDBOXED)}/report.html")
        await expect(page.locator("#unkept")).to_be_hidden()
        await rate(page, "Keep item 1")
        await expect(page.locator("#rated")).to_have_text("1 kept, 0 rejected")
        await expect(page.locator("#unkept")).to_be_visible()
        await page.reload()
        await expect(page.locator("#rated")).to_have_text("")


class TestLists:
    """What is kept, or shown, as CSV and JSON."""

    async def test_what_is_kept_is_downloaded_and_copied(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await rate(page, "Keep item 1", "Keep item 2", "Reject item 3")
        dialog = await export(page, "kept")
        name, data = await saved(page, dialog, "Download JSON")
        assert name == "foxes-1-list.json"
        first, second = json.loads(data)
        known = mixed()[0]
        expected = {
            "batch": "foxes-1", "index": 1, "item": known.item_id, "name": "canoe", "prompt": "a red canoe",
            "provider": "imaginelab", "kind": "image", "model": "flux", "rating": "kept", "status": "stored",
            "job": "job-1",
        }  # fmt: skip
        assert {key: first[key] for key in expected} == expected
        (output,) = first["outputs"]
        assert (output["key"], output["sha256"]) == (JPEG.key, JPEG.sha256)
        assert output["address"] == batch.replace("report.html", "outputs/1.jpg")
        assert len(second["outputs"]) == 5
        assert await copied(page, dialog, "Copy JSON") == data.decode()
        name, data = await saved(page, dialog, "Download CSV")
        assert name == "foxes-1-list.csv"
        lines = list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))
        assert [line["index"] for line in lines] == ["1", *["2"] * 5]
        assert (lines[0]["prompt"], lines[0]["key"], lines[0]["sha256"]) == (
            "a red canoe",
            JPEG.key,
            JPEG.sha256,
        )
        assert await copied(page, dialog, "Copy CSV") == data.decode()

    async def test_what_the_filter_shows_is_listed_with_addresses_in_the_bucket(
        self, page: Page, tmp_path: Path
    ) -> None:
        await page.goto(write_batch(tmp_path, mixed(), address="s3://art/batches/foxes-1").as_uri())
        await page.locator("select[name=kind]").select_option("video")
        await expect(page.locator(".card")).to_have_count(2)
        _, data = await saved(page, await export(page), "Download JSON")
        found = json.loads(data)
        assert [each["index"] for each in found] == [5, 9]
        assert found[0]["outputs"][0]["address"] == "s3://art/batches/foxes-1/outputs/3.mp4"

    async def test_a_spreadsheet_runs_nothing_of_the_list(self, page: Page, tmp_path: Path) -> None:
        items = tricky()
        await page.goto(write_batch(tmp_path, items).as_uri())
        dialog = await export(page)
        _, data = await saved(page, dialog, "Download CSV")
        rows = list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))
        prompts = [row["prompt"] for row in rows]
        assert prompts[:4] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)"]
        assert prompts[4:] == [item.request.prompt for item in items][4:]
        _, data = await saved(page, dialog, "Download JSON")
        assert [each["prompt"] for each in json.loads(data)] == [item.request.prompt for item in items]


def said(name: str | None, request: GenerationRequest) -> str:
    """Everything that a request says, for comparisons."""
    return json.dumps([name, request.model_dump(mode="json")], sort_keys=True)


def asked(items: Sequence[ManifestItem], *, seeds: bool = True) -> Counter[str]:
    """What items were asked for."""
    found: Counter[str] = Counter()
    for item in items:
        settings = {name: value for name, value in item.request.settings.items() if seeds or name != "seed"}
        found[said(item.name, item.request.model_copy(update={"settings": settings}))] += 1
    return found


def asked_in(data: bytes) -> Counter[str]:
    """What a prompts file asks for."""
    return Counter(said(each.name, each.request) for each in requests_in(data))


class TestTheSameAgain:
    """Rows of a prompts file."""

    async def test_the_reader_of_prompts_makes_the_same_requests(self, page: Page, tmp_path: Path) -> None:
        items = tricky()
        await page.goto(write_batch(tmp_path, items).as_uri())
        dialog = await export(page)
        name, data = await saved(page, dialog, "Download prompts")
        assert name == "foxes-1-again.csv"
        assert data.startswith(b"prompt,provider,kind,model,name,seed,negative_prompt,aspect_ratio,duration,")
        assert asked_in(data) == asked(items)
        assert await copied(page, dialog, "Copy prompts") == data.decode()

    async def test_seeds_can_be_left_out_and_rows_that_are_alike_become_one(
        self, page: Page, tmp_path: Path
    ) -> None:
        items = [make_item(index, settings={"seed": index, "steps": 4}) for index in range(1, 1102)]
        await page.goto(write_batch(tmp_path, items).as_uri())
        dialog = await export(page)
        await dialog.get_by_role("checkbox", name="with their seeds").uncheck()
        _, data = await saved(page, dialog, "Download prompts")
        assert [row["count"] for row in csv.DictReader(io.StringIO(data.decode()))] == ["1000", "101"]
        assert asked_in(data) == asked(items, seeds=False)

    async def test_one_item(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        await page.locator(".card").nth(2).press("Enter")
        await page.locator("#box").get_by_role("button", name="Export…").click()
        dialog = page.get_by_role("dialog", name="Export")
        _, data = await saved(page, dialog, "Download prompts")
        (found,) = requests_in(data)
        assert found.request.prompt == mixed()[2].request.prompt.strip()
        assert found.request.model == "seedream"
        await page.keyboard.press("Escape")
        await expect(page.locator("#box")).to_be_visible()

    async def test_what_a_prompts_file_cannot_hold_is_left_out_and_told(
        self, page: Page, tmp_path: Path
    ) -> None:
        await page.goto(write_batch(tmp_path, [make_item(1), make_item(2, "zero \0 byte")]).as_uri())
        dialog = await export(page)
        _, data = await saved(page, dialog, "Download prompts")
        await expect(dialog.get_by_role("status")).to_contain_text("1 row; 1 item left out")
        assert len(requests_in(data)) == 1


class TestTitles:
    """What an item is called."""

    async def test_it_is_the_prompts_name_or_else_the_files(self, page: Page, batch: str) -> None:
        await page.goto(batch)
        assert await page.title() == "foxes-1 · 8 of 10 stored"
        names = page.locator(".card .name")
        await expect(names.nth(0)).to_have_text("canoe")
        await expect(names.nth(2)).to_have_text("2.png")
        await expect(page.locator(".card img").first).to_have_attribute("alt", "canoe")
        await page.locator(".card").nth(2).press("Enter")
        await expect(page.locator("dialog h2")).to_contain_text("2.png")
        assert await page.title() == "2.png · foxes-1 · 8 of 10 stored"
        await page.keyboard.press("Escape")
        await expect(page).to_have_title("foxes-1 · 8 of 10 stored")


async def test_items_of_data_pages_are_rated_and_exported_too(
    page: Page, tmp_path: Path, problems: PageProblems
) -> None:
    problems.ignore(r"1\.(jpg|webp)")
    count = FIRST + 1800
    items = large(count)
    with closing(open_store(str(tmp_path))) as store:
        write_report(store, "b", items, usage_of(items))
        address = Path(store.link("b/report.html")).as_uri()
    await page.goto(address)
    await page.get_by_role("searchbox").fill(f"picture {count}:")
    await rate(page, f"Keep item {count}")
    await page.locator("select[name=rating]").select_option("kept")
    await page.wait_for_url("**rating=kept")
    await page.goto("about:blank")
    await page.goto(f"{address}#rating=kept")
    await expect(page.locator(".card .index")).to_have_text([str(count)])
    await page.get_by_role("button", name="Clear").click()
    await expect(page.locator("#found")).to_have_text(f"{count:,} items")
    dialog = await export(page)
    _, data = await saved(page, dialog, "Download prompts")
    assert asked_in(data) == asked(items)

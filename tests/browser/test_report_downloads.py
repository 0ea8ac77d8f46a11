"""Several files at once from the report page: saved by the browser where it can, else as a list to run."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Download, Page, expect

from prefect_imagine.providers.models import Output
from prefect_imagine.reports.manifest import ManifestItem
from tests.browser.conftest import Serve
from tests.browser.report_batches import write_batch
from tests.browser.taking import content, copied, export, rate
from tests.engine.waiting import until
from tests.reports.report_items import make_item

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("problems"),
]
MANY = 15
"""Of so many that are asked for at once Chromium saves ten."""


def key_of(index: int) -> str:
    return f"outputs/{index:05d}-it's #1 ü.txt"


def texts(folder: Path, count: int) -> list[ManifestItem]:
    """Items of one small file each, which are there."""
    (folder / "outputs").mkdir()
    for index in range(1, count + 1):
        (folder / key_of(index)).write_text(f"text {index}", encoding="utf-8")
    return [
        make_item(index, outputs=(Output(key=key_of(index), media_type="text/plain", text=f"text {index}"),))
        for index in range(1, count + 1)
    ]


def run(commands: str, folder: Path) -> dict[str, str]:
    """Run copied commands in an empty folder, and say what is in it then."""
    folder.mkdir()
    subprocess.run(["sh", "-e"], input=commands.encode(), cwd=folder, check=True, capture_output=True)
    return {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir()}


async def test_all_that_the_filter_shows_is_saved_one_after_the_other(
    page: Page, tmp_path: Path, serve: Serve
) -> None:
    items = texts(tmp_path, MANY)
    await page.goto(f"{serve(write_batch(tmp_path, items).parent)}/report.html")
    downloads: list[Download] = []
    page.on("download", lambda each: downloads.append(each))
    dialog = await export(page)
    await dialog.get_by_role("button", name=f"Download {MANY} files").click()
    status = dialog.get_by_role("status")
    await expect(status).to_have_text(f"Downloaded: {MANY} of {MANY} files.", timeout=30_000)
    await until(lambda: len(downloads) >= MANY)  # the browser tells later than the page
    found = dict([await content(each) for each in downloads])
    assert found == {
        key_of(index).rpartition("/")[2]: f"text {index}".encode() for index in range(1, MANY + 1)
    }


async def test_it_can_be_stopped_and_what_is_kept_is_saved_alone(
    page: Page, tmp_path: Path, serve: Serve
) -> None:
    await page.goto(f"{serve(write_batch(tmp_path, texts(tmp_path, MANY)).parent)}/report.html")
    await rate(page, "Keep item 2", "Keep item 7")
    downloads: list[Download] = []
    page.on("download", lambda each: downloads.append(each))
    dialog = await export(page, "kept")
    await dialog.get_by_role("button", name="Download 2 files").click()
    await expect(dialog.get_by_role("status")).to_have_text("Downloaded: 2 of 2 files.")
    await until(lambda: len(downloads) >= 2)
    assert [each.suggested_filename[:5] for each in downloads] == ["00002", "00007"]
    await dialog.locator("input[value=shown]").check()
    await dialog.get_by_role("button", name=f"Download {MANY} files").click()
    await dialog.get_by_role("button", name="Stop").click()
    await expect(dialog.get_by_role("status")).to_contain_text("Downloaded: ")
    await expect(dialog.get_by_role("button", name=f"Download {MANY} files")).to_be_focused()
    assert len(downloads) < MANY


async def test_more_than_a_browser_takes_go_as_a_list(page: Page, tmp_path: Path, serve: Serve) -> None:
    await page.goto(f"{serve(write_batch(tmp_path, texts(tmp_path, 201)).parent)}/report.html")
    dialog = await export(page)
    await expect(dialog).to_contain_text("These are 201; a browser takes 200 at once: take a list.")
    await expect(dialog.get_by_role("button", name="Download 201 files")).to_have_count(0)
    await expect(dialog.get_by_role("button", name="Copy as curl commands")).to_be_visible()


async def test_a_page_from_a_folder_says_where_its_files_are(page: Page, tmp_path: Path) -> None:
    batch = tmp_path / "a batch's"
    batch.mkdir()
    await page.goto(write_batch(batch, texts(batch, 3)).as_uri())
    dialog = await export(page)
    await expect(dialog).to_contain_text("a page that was opened as a file cannot save copies")
    await expect(dialog.get_by_role("button", name="Download 3 files")).to_have_count(0)
    paths = (await copied(page, dialog, "Copy paths")).splitlines()
    assert paths == [str(batch / key_of(index)) for index in (1, 2, 3)]
    commands = await copied(page, dialog, "Copy as cp commands")
    found = await asyncio.to_thread(run, commands, tmp_path / "copies")
    assert found == {key_of(index).rpartition("/")[2]: f"text {index}" for index in (1, 2, 3)}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
async def test_files_of_another_server_go_as_commands_for_curl(
    page: Page, tmp_path: Path, serve: Serve
) -> None:
    """As signed links do in a page that was saved from its bucket."""
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    items = texts(there, 2)
    files = serve(there)
    links = {
        key_of(index): f"{files}/{Path(key_of(index)).as_posix()}".replace(" ", "%20").replace("#", "%23")
        + "?sig='a&b=c'"
        for index in (1, 2)
    }
    page_itself = write_batch(here, items, links=links, address="s3://art/foxes-1")
    await page.goto(f"{serve(page_itself.parent)}/report.html")
    dialog = await export(page)
    await expect(dialog).to_contain_text("They are on another server than this page")
    await expect(dialog.get_by_role("button", name="Download 2 files")).to_have_count(0)
    addresses = await copied(page, dialog, "Copy addresses")
    assert addresses.count("?sig=%27a&b=c%27") == 2
    commands = await copied(page, dialog, "Copy as curl commands")
    found = await asyncio.to_thread(run, commands, tmp_path / "copies")
    assert found == {key_of(index).rpartition("/")[2]: f"text {index}" for index in (1, 2)}
    lines = (await copied(page, dialog, "Copy as aws s3 cp commands")).splitlines()
    assert [shlex.split(line) for line in lines] == [
        ["aws", "s3", "cp", f"s3://art/foxes-1/{key_of(index)}", f"./{key_of(index).rpartition('/')[2]}"]
        for index in (1, 2)
    ]


async def test_one_file_has_its_own_download(page: Page, tmp_path: Path, serve: Serve) -> None:
    await page.goto(f"{serve(write_batch(tmp_path, texts(tmp_path, 1)).parent)}/report.html")
    await page.locator(".card").press("Enter")
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download").click()
    assert await content(await started.value) == (key_of(1).rpartition("/")[2], b"text 1")

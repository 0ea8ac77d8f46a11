"""Makes the pictures of docs/ in the Chromium that is installed, from a demo of its own: the sandbox, a
Prefect server, and the example prompts. From the project's folder: python -m docs.picture"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.async_api import Page, async_playwright
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_imagine import BatchOptions, generate_batch
from prefect_imagine.flows import credit_report
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.sandbox import SandboxSettings, running_sandbox
from tests.browser.conftest import FLAGS, chromium_path
from tests.flows.prefect_api import artifacts_of, run_named, until
from tests.prefect_server import shared_server, stop_shared_server

DOCS = Path(__file__).parent
PROJECT = DOCS.parent
PRICES = {name: PriceList(default=1) for name in ("blockadelabs", "imagineapi")}
SLOW = {"image": (4.0, 16.0), "video": (12.0, 24.0), "voice": (3.0, 9.0), "music": (6.0, 14.0)}


class Studio:
    """A demo under way, and the page that pictures are taken of."""

    def __init__(self, page: Page, api_url: str, output: Path) -> None:
        self.page = page
        self.output = output
        self.api_url = api_url

    async def generate(self, prompts: str, batch_id: str, **parameters: Any) -> State[Any]:
        """Run example prompts as a batch."""
        options = BatchOptions(batch_id=batch_id, prices=PRICES)
        state: State[Any] = await generate_batch(
            str(PROJECT / prompts), str(self.output), options=options, return_state=True, **parameters
        )
        return state

    async def open(self, path: str, sign: str) -> None:
        """Show a page of the Prefect UI, once this text is on it."""
        await self.page.goto(f"{self.api_url.removesuffix('/api')}/v2/{path}")
        await self.page.get_by_text(sign).first.wait_for()

    async def take(self, name: str, height: int) -> None:
        """Take the upper part of the page."""
        await self.page.set_viewport_size({"width": 1280, "height": height})
        await self.page.wait_for_load_state("networkidle")
        await self.page.screenshot(path=DOCS / name)


async def run_form(studio: Studio) -> None:
    """The form of the deployment, with a file of prompts and a provider."""
    deployment = await generate_batch.ato_deployment(
        name="generate-batch", parameters={"output": "s3://team/generated"}
    )
    await studio.open(f"deployments/deployment/{await deployment.aapply()}/run", "Patience (Optional)")
    page = studio.page
    await page.get_by_role("textbox", name="Run Name").fill("spring-campaign")
    await page.get_by_role("tab", name="file or address").click()
    await page.get_by_role("textbox").nth(1).fill("s3://team/prompts/spring.csv")
    await page.get_by_role("tab", name="provider").click()
    await page.get_by_role("button", name="Select provider").click()
    await page.get_by_role("option", name="aivisualstudio").click()
    await page.get_by_role("listbox").wait_for(state="hidden")
    await studio.take("ui-run-form.png", 960)


async def progress(studio: Studio) -> None:
    """A run in the middle of its batch, and then its report, light and dark, and its contact sheet."""
    running = asyncio.create_task(studio.generate("prefect_imagine/cli/prompts.csv", "spring-campaign"))
    run = await run_named("generate spring-campaign", "Running")

    async def half() -> bool:
        return bool((await artifacts_of(studio.api_url, run.id)).get("imagine-progress", 0) >= 40)

    await until(half, "half of the batch")
    await studio.open(f"runs/flow-run/{run.id}?tab=Artifacts", "imagine-progress")
    await studio.page.get_by_role("radio", name="List view").click()
    await studio.take("ui-progress.png", 880)
    await running
    await studio.page.goto((studio.output / "spring-campaign" / "report.html").as_uri())
    await studio.take("report.png", 1500)
    await studio.page.emulate_media(color_scheme="dark")
    await studio.take("report-dark.png", 1500)
    await studio.page.emulate_media(color_scheme="light")
    await sheet(studio)


async def sheet(studio: Studio) -> None:
    """The contact sheet of the report that is open, with a few items rated."""
    for mark in ("Keep item 2", "Keep item 5", "Reject item 4"):
        await studio.page.get_by_role("button", name=mark, exact=True).click()
    await studio.page.mouse.move(0, 0)
    await studio.page.evaluate("document.getElementById('sheet').scrollIntoView({ behavior: 'instant' })")
    await studio.take("report-sheet.png", 1080)


async def usage(studio: Studio) -> None:
    """The credit report of all batches."""
    await credit_report(str(studio.output), return_state=True)
    only = ArtifactFilter(key=ArtifactFilterKey(any_=["imagine-credit-report"]))
    async with get_client() as client:
        (report,) = await client.read_artifacts(artifact_filter=only)
    await studio.open(f"artifacts/artifact/{report.id}", "Spent by label")
    await studio.take("ui-usage.png", 1100)


async def approval(studio: Studio) -> None:
    """The question of a run that may cost much, answered with yes."""
    parameters = {"provider": "aivisualstudio", "approve_above": 50}
    running = asyncio.create_task(studio.generate("examples/nightly.csv", "landscapes", **parameters))
    run = await run_named("generate landscapes", "Paused")
    await studio.open(f"runs/flow-run/{run.id}", "Paused")
    await studio.page.get_by_role("button", name="Open menu").click()
    await studio.page.get_by_role("menuitem", name="Resume").click()
    await studio.page.get_by_role("switch", name="Approve").click()
    await studio.take("ui-approval.png", 1120)
    await studio.page.get_by_role("button", name="Resume").click()
    await running


PICTURES: tuple[Callable[[Studio], Awaitable[None]], ...] = (run_form, approval, progress, usage)


async def take_all(api_url: str, output: Path) -> None:
    """Take all pictures."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        context = await browser.new_context(
            color_scheme="light", reduced_motion="reduce", viewport={"width": 1280, "height": 900}
        )
        studio = Studio(await context.new_page(), api_url, output)
        for picture in PICTURES:
            await picture(studio)
        await browser.close()


def main() -> None:
    """Set up the demo, take the pictures, and leave nothing else behind."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        running_sandbox(SandboxSettings(latency=SLOW)) as sandbox,
    ):
        os.environ.update(sandbox.environment)
        folder = Path(scratch)
        try:
            api_url = shared_server(folder / "prefect")
            with temporary_settings({PREFECT_API_URL: api_url}):
                asyncio.run(take_all(api_url, folder / "outputs"))
        finally:
            stop_shared_server(folder / "prefect")


if __name__ == "__main__":
    main()

"""The export dialog of a report page, and what a browser saves from it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Download, Locator, Page


async def export(page: Page, scope: str = "shown") -> Locator:
    """Open the dialog for what is kept, or what the filter shows."""
    await page.get_by_role("button", name="Export…").last.click()
    dialog = page.get_by_role("dialog", name="Export")
    await dialog.locator(f"input[value={scope}]").check()
    return dialog


async def saved(page: Page, dialog: Locator, button: str) -> tuple[str, bytes]:
    """The name and bytes of the file that a button saves."""
    async with page.expect_download() as started:
        await dialog.get_by_role("button", name=button).click()
    return await content(await started.value)


async def content(download: Download) -> tuple[str, bytes]:
    """The name and bytes of a file that was saved."""
    data = await asyncio.to_thread(Path(await download.path()).read_bytes)
    return download.suggested_filename, data


async def copied(page: Page, dialog: Locator, button: str) -> str:
    """What a button puts on the clipboard."""
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await dialog.get_by_role("button", name=button).click()
    await dialog.get_by_role("status").get_by_text("Copied").wait_for()
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


async def rate(page: Page, *marks: str) -> None:
    """Press buttons such as `Keep item 3`."""
    for mark in marks:
        await page.get_by_role("button", name=mark, exact=True).click()

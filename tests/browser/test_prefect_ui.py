"""What an operator sees in the Prefect UI: the run form, the artifacts, and the question before much is
spent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.flows import credit_report
from prefect_imagine.flows.parameters import KindName
from prefect_imagine.providers.registry import provider_names
from prefect_imagine.sandbox import RunningSandbox
from tests.browser.conftest import Problems
from tests.flows.prefect_api import run_named

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session")]

NEW_UI, OLD_UI = "/v2", ""
NOISE = (
    r"https://[\w.-]+\.amplitude\.com/",  # the new UI asks for it, whatever the server's settings
    r"\.svg(: HTTP 404|\))",  # icons of states, looked for in the wrong folder by both
    r"/favicon[\w-]*\.\w+(: HTTP 404|\))",
    r"/api/task_runs/filter(: HTTP 422|\))",  # the task run "" of an artifact that belongs to none
    r"\b503\b",  # its database is busy: the page asks again, or a person does
    r"console: dO \(",  # a request given up as its page was left; one that fails is told by itself
    r"flow-run-graph|vendor-pixi|GL Driver Message",  # the graph of a run, without a graphics card
)
"""What Prefect's own pages complain of, with no doing of ours."""

SCRIPT = "<script>window.pwned=1</script>"
IMAGE = '"><img src=x onerror=window.pwned=1>'
MARKDOWN = "a|b `c` [x](javascript:window.pwned=1) <img src=x onerror=window.pwned=1>"
REFUSED = f"forbidden-content {IMAGE}"

_MODEL = "imaginelab/image/seedream-5.0-lite"
TOLD = {
    "imagine-estimate": ("seedream-5.0-lite", "unpriced"),
    "imagine-progress": ("3 of 4 stored, 1 failed", "100%"),
    "imagine-usage": (_MODEL, "3 of 4 stored"),
    "imagine-failures": ("moderation", '4 forbidden-content "><img src=x'),
    "imagine-report": ("The report of foxes is a file", "foxes/report.html"),
    "imagine-problems": (f"imaginelab has no image model '{MARKDOWN}'",),
    "imagine-credit-report": (f"team={MARKDOWN}", f"{SCRIPT}={IMAGE}", _MODEL),
    "imagine-credits-by-model": (_MODEL,),
    "imagine-credits-by-label": (f"team={MARKDOWN}", f"{SCRIPT}={IMAGE}"),
}
"""By artifact, what a person has to be able to read there."""

INJECTED = """() => [
  ...document.querySelectorAll("[onerror], img[src=x], [href^='javascript:' i], [src^='javascript:' i]"),
  ...[...document.scripts].filter((script) => script.text.includes("pwned")),
  ...(window.pwned ? [document.documentElement] : []),
].map((element) => element.outerHTML.slice(0, 200))"""

EXPLAINED = """() => Object.fromEntries([...document.querySelectorAll("main label")].map((label) => [
  label.textContent.replace(" (Optional)", ""),
  label.nextElementSibling?.textContent.replace(/\\s+/g, " ").trim(),
]))"""


@pytest.fixture
def site(prefect_server: str, problems: Problems) -> str:
    """Prefect's pages, whose own noise is no problem."""
    for pattern in NOISE:
        problems.ignore(pattern)
    return prefect_server.removesuffix("/api")


async def _generate(output: Path, prompts: list[Prompt], batch_id: str, **parameters: Any) -> State[Any]:
    options = BatchOptions(batch_id=batch_id)
    state: State[Any] = await generate_batch(
        prompts, str(output), options=options, return_state=True, **parameters
    )
    return state


async def _shows_only_text(page: Page) -> None:
    assert await page.evaluate(INJECTED) == []


class TestRunForm:
    """The form of the deployment `generate-batch`, as prefect.yaml makes it."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def form(self, site: str, page: Page) -> AsyncIterator[Page]:
        deployment = await generate_batch.ato_deployment(
            name=f"form-{uuid4().hex[:8]}", parameters={"output": "./outputs"}
        )
        made = await deployment.aapply()
        await page.goto(f"{site}{NEW_UI}/deployments/deployment/{made}/run")
        await expect(page.get_by_text("Patience (Optional)")).to_be_visible()
        yield page
        async with get_client() as client:
            await client.delete_deployment(made)

    async def test_every_parameter_and_option_is_described(self, form: Page) -> None:
        schema = generate_batch.parameters.model_dump()
        options, timing = (schema["definitions"][name]["properties"] for name in ("BatchOptions", "Timing"))
        wanted = {
            each.get("title", name.title()): " ".join(each["description"].split())
            for fields in (schema["properties"], options, timing)
            for name, each in fields.items()
        }
        shown = await form.evaluate(EXPLAINED)
        assert {name: shown.get(name) for name in wanted} == wanted

    async def test_providers_and_kinds_are_offered(self, form: Page) -> None:
        kinds = list(get_args(get_args(KindName)[0]))
        for name, allowed in (("provider", list(provider_names())), ("kind", kinds)):
            await _open(form, name)
            await expect(form.get_by_role("option")).to_have_text(allowed)
            await form.get_by_role("option", name=allowed[-1]).click()

    async def test_prompts_typed_in_are_what_the_run_gets(self, form: Page) -> None:
        prompts = _field(form, "prompts")
        await prompts.get_by_role("tab", name="list of prompts").click()
        for number, text in enumerate(("a heron", SCRIPT)):
            await prompts.get_by_role("button", name="Add item").click()
            await prompts.get_by_role("textbox", name="Prompt", exact=True).nth(number).fill(text)
        await _open(form, "provider")
        await form.get_by_role("option", name="blockadelabs").click()
        await form.get_by_role("switch", name="validate_only (Optional)").click()
        given = await _submitted(form)
        assert [each["prompt"] for each in given["prompts"]] == ["a heron", SCRIPT]
        assert (given["provider"], given["validate_only"]) == ("blockadelabs", True)
        assert given["options"] == BatchOptions().model_dump(mode="json")
        generate_batch.validate_parameters(given)
        await _shows_only_text(form)

    async def test_prompts_can_be_a_file(self, form: Page) -> None:
        prompts = _field(form, "prompts")
        await prompts.get_by_role("tab", name="file or address").click()
        await prompts.get_by_role("textbox").fill("s3://team/prompts.csv")
        given = await _submitted(form)
        assert given["prompts"] == "s3://team/prompts.csv"
        generate_batch.validate_parameters(given)


def _field(form: Page, name: str) -> Locator:
    label = form.get_by_text(f"{name} (Optional)", exact=True)
    return label.locator("xpath=ancestor::*[fieldset or .//fieldset][1]")


async def _open(form: Page, name: str) -> None:
    await _field(form, name).get_by_role("tab", name=name).click()
    await form.get_by_role("button", name=f"Select {name}").click()


async def _submitted(form: Page) -> dict[str, Any]:
    """The parameters of the run that pressing the button makes."""
    async with form.expect_response("**/create_flow_run") as answer:
        await form.get_by_role("button", name="Submit").click()
    made = await (await answer.value).json()
    async with get_client() as client:
        return (await client.read_flow_run(made["id"])).parameters


class TestArtifacts:
    """Artifacts of batches whose prompts, labels and models would do something if they were no text."""

    @pytest.mark.parametrize(
        "ui",
        [
            NEW_UI,
            OLD_UI,
        ],
        ids=["new", "old"],
    )
    async def test_they_can_be_read_and_do_nothing(
        self, keys: RunningSandbox, site: str, page: Page, tmp_path: Path, ui: str
    ) -> None:
        runs = await _batches_and_bill(tmp_path)
        artifacts = await _artifacts(site, runs)
        assert artifacts.keys() == TOLD.keys()
        for key, texts in TOLD.items():
            await page.goto(f"{site}{ui}/artifacts/artifact/{artifacts[key]}")
            for text in texts:
                await expect(page.get_by_text(_shown(text)).first).to_be_visible()
            await _shows_only_text(page)
        await page.goto(f"{site}{ui}/runs/flow-run/{runs[1]}")
        await page.get_by_text("Task Runs", exact=True).click()
        await expect(page.get_by_text(f"create imaginelab 1 {SCRIPT}")).to_be_visible()
        await _shows_only_text(page)


async def _batches_and_bill(folder: Path) -> list[UUID]:
    """The runs of a dry run, the batch itself, one that is refused for its model, and the credit report."""
    prompts = [
        Prompt(prompt=SCRIPT, provider="imaginelab", labels={"team": MARKDOWN}),
        Prompt(prompt=IMAGE, provider="imagineapi", labels={SCRIPT: IMAGE}),
        Prompt(prompt=MARKDOWN, provider="imaginelab", name=MARKDOWN),
        Prompt(prompt=REFUSED, provider="imaginelab"),
    ]
    wrong = [Prompt(prompt=SCRIPT, provider="imaginelab", model=MARKDOWN)]
    states = [
        await _generate(folder, prompts, "foxes", validate_only=True),
        await _generate(folder, prompts, "foxes"),
        await _generate(folder, wrong, "wrong"),
        await credit_report(str(folder), return_state=True),
    ]
    assert [state.is_completed() for state in states] == [True, False, False, True]
    return [UUID(str(state.state_details.flow_run_id)) for state in states]


def _shown(text: str) -> re.Pattern[str]:
    """The text, whatever stands in it unseen, and in type of another kind."""
    return re.compile("\u200b?".join("`?" if sign == "`" else re.escape(sign) for sign in text))


async def _artifacts(site: str, flow_runs: list[UUID]) -> dict[str, str]:
    only = {"flow_runs": {"id": {"any_": [str(each) for each in flow_runs]}}}
    async with httpx.AsyncClient(base_url=f"{site}/api") as http:
        found = (await http.post("/artifacts/filter", json=only)).json()
    return {each["key"]: each["id"] for each in found}


class TestApproval:
    """The question of a paused run, answered in the browser."""

    async def test_approved_it_goes_on(
        self, keys: RunningSandbox, site: str, page: Page, tmp_path: Path
    ) -> None:
        batch_id = f"ask-{uuid4().hex[:8]}"
        prompts = [Prompt(prompt=text, provider="imaginelab") for text in (SCRIPT, IMAGE, MARKDOWN)]
        running = asyncio.create_task(
            _generate(tmp_path, prompts, batch_id, approve_above=14, approval_minutes=10)
        )
        paused = await run_named(f"generate {batch_id}", "Paused")
        await page.goto(f"{site}{NEW_UI}/runs/flow-run/{paused.id}")
        question = await _question(page)
        await expect(question.get_by_role("row").last).to_have_text("imaginelabimageseedream-5.0-lite315")
        for text in (f"{batch_id} would create 3 items: imaginelab 15 credits", SCRIPT, IMAGE):
            await expect(question).to_contain_text(text)
        await expect(question).not_to_contain_text("Leave out")
        await _shows_only_text(page)
        assert not keys.books.accepted
        await _resumed(page, question, _approved)
        assert (await running).message == "3 of 3 stored"

    @pytest.mark.parametrize("ui", [NEW_UI, OLD_UI], ids=["new", "old"])
    async def test_approved_with_changes_it_does_just_that(
        self, keys: RunningSandbox, site: str, page: Page, tmp_path: Path, ui: str
    ) -> None:
        batch_id = f"change-{uuid4().hex[:8]}"
        asked = [("a fox", "imaginelab"), ("a hare", "imaginelab"), ("a heron", "aivisualstudio")]
        prompts = [Prompt(prompt=text, provider=provider) for text, provider in asked]
        running = asyncio.create_task(
            _generate(tmp_path, prompts, batch_id, approve_above=0, approval_minutes=10)
        )
        paused = await run_named(f"generate {batch_id}", "Paused")
        await page.goto(f"{site}{ui}/runs/flow-run/{paused.id}")
        question = await _question(page)
        total = "3 items: imaginelab 10 credits; aivisualstudio 5 credits"
        await expect(question).to_contain_text(f"{batch_id} would create {total}")
        await _resumed(page, question, _changed)
        ended = await running
        assert ended.is_failed(), ended
        assert "1 of 2 stored, 1 planned: item 2 (5 credits) would pass max_credits" in (ended.message or "")
        charged = keys.report(jobs=False)["charged"]
        assert (charged["imaginelab"], charged["aivisualstudio"]) == (5, 0)


async def _question(page: Page) -> Locator:
    """The form that asks about a paused run, in either UI."""
    resume = page.get_by_role("button", name="Resume", exact=True)
    menu = page.get_by_role("button", name="Open menu")
    await expect(resume.or_(menu).first).to_be_visible()
    if await resume.count():
        await resume.click()
    else:
        await menu.click()
        await page.get_by_role("menuitem", name="Resume").click()
    question = page.get_by_role("dialog").filter(has_text="Resume Flow Run")
    await expect(question).to_contain_text("Approve")
    return question


async def _resumed(page: Page, question: Locator, fill_in: Callable[[Locator], Awaitable[None]]) -> None:
    """Answer, again where the server was too busy to take it."""
    while True:
        await fill_in(question)
        async with page.expect_response("**/resume") as answer:
            await question.get_by_role("button", name=re.compile("Resume|Submit")).click()
        if (await answer.value).status != 503:
            return
        await page.reload()
        question = await _question(page)


async def _approved(question: Locator) -> None:
    await _switched_on(question, "Approve")


async def _changed(question: Locator) -> None:
    await _approved(question)
    credits = question.get_by_role("tab", name="credits")
    await credits.or_(question.get_by_role("button", name="credits", exact=True)).click()
    await question.get_by_role("spinbutton").fill("5")
    await _switched_on(question, "Leave out aivisualstudio")


async def _switched_on(question: Locator, title: str) -> None:
    """Neither UI ties its switches to their titles for good: the first one after a title is meant."""
    text = question.get_by_text(f"{title} (Optional)")
    await text.locator("xpath=following::*[@role='switch'][1]").click()

"""Calling the flow from Python: what it returns and raises, and what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_imagine import BatchOptions, Prompt, generate_batch
from prefect_imagine.blocks import AIVisualStudioCredentials
from prefect_imagine.errors import BatchIncompleteError, ConfigurationError
from prefect_imagine.sandbox import RunningSandbox


async def test_without_an_id_what_is_asked_for_is_the_batch_and_is_paid_once(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    prompts = [Prompt(prompt="a fox without a name", provider="imaginelab")]
    first = await generate_batch(prompts, str(tmp_path))
    again = await generate_batch(prompts, str(tmp_path))
    assert (first.batch_id, first.items.stored) == (again.batch_id, 1)
    assert len(keys.books.jobs) == 1
    another = await generate_batch(prompts, str(tmp_path), again=True)
    assert another.batch_id != first.batch_id
    assert len(keys.books.jobs) == 2
    with pytest.raises(ConfigurationError, match="there are no prompts"):
        await generate_batch(output=str(tmp_path))


async def test_a_run_that_is_not_complete_raises_with_its_summary(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    prompts = [Prompt(prompt=f"fox {number}", provider="imaginelab") for number in range(3)]
    options = BatchOptions(batch_id="poor", max_credits=5)
    with pytest.raises(BatchIncompleteError, match="max_credits") as caught:
        await generate_batch(prompts, str(tmp_path), options=options)
    assert (caught.value.summary.items.stored, caught.value.summary.items.planned) == (1, 2)


async def test_loaded_blocks_are_taken_as_they_are(
    sandbox: RunningSandbox, tmp_path: Path, prefect_server: str
) -> None:
    environment = sandbox.environment
    block = AIVisualStudioCredentials(
        api_key=SecretStr(environment["AIVISUALSTUDIO_API_KEY"]),
        base_url=environment["AIVISUALSTUDIO_BASE_URL"],
    )
    prompts = [Prompt(prompt="a fox", provider="aivisualstudio")]
    summary = await generate_batch(prompts, str(tmp_path), credentials={"aivisualstudio": block})
    assert summary.items.stored == 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"credentials": {"aivisualstudios": "team"}},
        {"low_credits": {"imaginlab": 5}},
    ],
)
async def test_a_misspelt_provider_is_an_error_with_the_nearest_name(
    keys: RunningSandbox, tmp_path: Path, prefect_server: str, parameters: dict[str, Any]
) -> None:
    prompts = [Prompt(prompt="a fox", provider="aivisualstudio")]
    with pytest.raises(ConfigurationError, match="did you mean"):
        await generate_batch(prompts, str(tmp_path), **parameters)
    assert keys.books.jobs == []


@pytest.mark.parametrize("name", ["max_credits_by_provider", "prices", "rates"])
def test_options_of_a_misspelt_provider_are_an_error(name: str) -> None:
    value = {"max_credits_by_provider": 5, "prices": {"default": 1}, "rates": "60/min"}[name]
    with pytest.raises(ValueError, match=r"no provider 'imaginlab'; did you mean imaginelab"):
        BatchOptions.model_validate({name: {"imaginlab": value}})

"""What is said of a new batch whose prompts other batches of the same file have paid for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.cli.relatives import tell_of_relatives
from prefect_imagine.providers.models import Estimate, GenerationRequest
from prefect_imagine.stores import open_store


def plan_of(batch_id: str, *prompts: str) -> Plan:
    items = tuple(
        BatchItem(
            index=index,
            item_id=f"{batch_id}.{index}",
            asked=prompt,
            request=GenerationRequest(provider="imaginelab", prompt=prompt),
            estimate=Estimate(credits=5, source="catalog"),
        )
        for index, prompt in enumerate(prompts, start=1)
    )
    return Plan(batch_id, datetime(2025, 3, 1, tzinfo=UTC), items)


def test_only_other_batches_of_the_file_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(str(tmp_path))
    grown = plan_of("art-2", "a fox", "a hen", "an owl")
    for known in (plan_of("art-1", "a fox", "a hen"), plan_of("other-1", "a fox"), plan_of("art-3", "a cow")):
        write_plan(store, known)
    tell_of_relatives(store, grown)
    assert capsys.readouterr().err == (
        "note: 2 of these 3 items were asked for by batch art-1 already; "
        "this is another batch, and pays for them again\n"
    )


def test_a_batch_that_another_process_begins_too_is_not_its_own_relative(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path))
    plan = plan_of("nightly-1", "a fox")
    write_plan(store, plan)
    tell_of_relatives(store, plan)
    assert capsys.readouterr().err == ""

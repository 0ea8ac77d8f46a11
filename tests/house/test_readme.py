"""What the README says of the providers is what their specifications say."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.registry import BUILT_IN
from prefect_imagine.providers.spec import ProviderSpec

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("spec", BUILT_IN, ids=lambda spec: str(spec.name))
def test_the_table_of_providers_is_true(spec: ProviderSpec) -> None:
    able = spec.capabilities
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if f"(`{spec.name}`)" in line]
    [cells] = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    title, kinds, models, balance, cancel, cost, variables = cells
    assert title == f"{spec.title} (`{spec.name}`)"
    named = {word for kind in GenerationKind for word in [kind.value] if word in kinds}
    assert named == {kind.value for kind in able.kinds}
    assert [models in ("listed", "generators"), balance == "yes", cancel == "yes"] == [
        able.models,
        able.balance,
        able.cancel,
    ]
    assert ("create" in cost) is able.credits_on_create
    for variable in filter(None, (spec.key_variable, *(spec.login_variables or ()))):
        assert f"`{variable}`" in variables

"""docs/cli.md says what the command line does: its commands, exit codes and JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from docs._generate.docstrings import constants
from prefect_imagine.cli.arguments import COMMANDS
from prefect_imagine.cli.output import contract, nothing_done
from prefect_imagine.reports import summary
from prefect_imagine.reports.summary import PlanCounts
from tests.documents.blocks import ROOT, blocks_of

PAGE = ROOT / "docs/cli.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_has_every_command() -> None:
    table = TEXT.split("\n## ", 1)[0]
    named = {name for name in COMMANDS if re.search(rf"^\| .*`{name}[ `]", table, re.MULTILINE)}
    assert set(COMMANDS) - named == set()


def test_the_exit_codes_are_all_there() -> None:
    _, section = TEXT.split("\n## Exit codes\n")
    told = {
        int(code)
        for cell in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
        for code in cell.split(",")
    }
    assert told == {value for name, value, _ in constants(summary) if name.isupper()}


def _shape(value: Any) -> Any:
    return {name: _shape(each) for name, each in value.items()} if isinstance(value, dict) else None


def test_the_json_object_is_the_contract() -> None:
    [block] = [block for block in blocks_of(PAGE) if block.language == "json"]
    end = nothing_done("", 0).model_copy(update={"plan": PlanCounts(new=0, kept=0, withdrawn=0)})
    assert _shape(json.loads(block.text)) == _shape(contract(end))
    let_go = contract(end.model_copy(update={"submitted": True}))
    for name in let_go.keys() - contract(end).keys():
        assert f"`{name}`" in TEXT, name

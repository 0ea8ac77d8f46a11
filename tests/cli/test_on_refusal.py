"""`--on-refusal`: what is created in another way, what that is said to cost, and what people see of it."""

from __future__ import annotations

import json
from pathlib import Path

from prefect_imagine.sandbox import FaultRule, RunningSandbox
from tests.cli.commands import Shell, assert_contract

TABLE = 'prompt,on_refusal\na fox,\na hare,fail\nan owl,"reseed: 1; fallback: [imagineapi]"\n'
WORDS = ("--provider", "imaginelab", "--price", "imagineapi=2", "--on-refusal", "fallback: [aivisualstudio]")


def test_what_is_refused_is_created_elsewhere_and_billed_there(
    shell: Shell, providers: RunningSandbox
) -> None:
    providers.reset()
    for word in ("fox", "hare", "owl"):
        providers.faults.add(FaultRule("refused", provider="imaginelab", match=word))
    file = shell.write("animals.csv", TABLE)
    dry = shell.run("generate", file, *WORDS, "--dry-run", "--json")
    assert dry.last["credits"] == {"charged": 0, "estimated": 15 + 5 + 5 + 2}
    assert "catalog, if refused" in dry.stderr
    ended = shell.run("generate", file, *WORDS, "--json")
    found = assert_contract(ended)
    assert (ended.code, found["items"]["stored"], found["items"]["failed"]) == (1, 2, 1)
    assert found["credits"] == {"charged": 5, "estimated": 2}
    lines = [json.loads(line) for line in Path(found["manifest"]).read_text().splitlines()]
    assert [line["request"]["provider"] for line in lines] == ["aivisualstudio", "imaginelab", "imagineapi"]
    assert [len(line["instead_of"]) for line in lines] == [1, 0, 2]
    report = Path(found["report"]).read_text()
    assert "Refused before by" in report
    assert report.count("This prompt cannot be generated") >= 3
    again = shell.run("generate", file, *WORDS, "--json")
    assert again.last["requests"]["create"] == 0

"""Bad input: one clear message, exit 2, an object for scripts, nothing created, no secret shown."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from tests.cli.commands import Shell, assert_contract, assert_refused

PROMPTS = '{"prompt": "a fox"}\n'
NOWHERE = "http://127.0.0.1:9"
GIVE_UP_SECONDS = 120.0
"""Twice what the contract allows: three processes share two cores here."""


@pytest.fixture(autouse=True)
def nothing_created(providers: RunningSandbox, bare_shell: Shell) -> Iterator[None]:
    """Whatever a test here does, nothing was accepted, and no batch was left."""
    yield
    assert providers.report()["jobs"] == []
    assert not list(bare_shell.folder.rglob("plan.jsonl"))


@pytest.fixture(scope="module")
def prompts(bare_shell: Shell) -> Path:
    return bare_shell.write("fox.jsonl", PROMPTS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "COMMAND is missing"),
        (["fly"], "there is no command 'fly'; allowed: generate, resume, "),
        (["generate"], "PROMPTS is missing"),
        (["generate", "a.csv", "--nonsense"], "there is no option --nonsense"),
        (["generate", "a.csv", "--dry"], "there is no option --dry; did you mean --dry-run"),
        (["generate", "a.csv", "-v"], "there is no option -v"),
        (["generate", "-a.csv"], "there is no option -a.csv"),
        (["generate", "--nonsense", "a.csv"], "there is no option --nonsense"),
        (["generate", "a.csv", "b.csv"], "'b.csv' is one argument too many"),
        (
            ["generate", "a.csv", "--max_credits", "5"],
            "there is no option --max_credits; did you mean --max-",
        ),
        (["generate", "a.csv", "--no-again"], "there is no option --no-again; did you mean --again"),
        (["generate", "a.csv", "--empty-price"], "there is no option --empty-price"),
        (["generate", "a.csv", "--again=yes"], "--again takes no value"),
        (["generate", "a.csv", "--version"], "there is no option --version"),
        (["generate", "a.csv", "--price", "--again"], "--price needs a value"),
        (["generate", "a.csv", "--provider", "dalle"], "there is no provider 'dalle'; allowed: imaginelab, "),
        (["generate", "a.csv", "--provider", "blockadlabs"], "did you mean blockadelabs?"),
        (["generate", "a.csv", "--kind", "smell"], "--kind: there is no kind 'smell'; "),
        (["generate", "a.csv", "--format", "xlsx"], "there is no format 'xlsx'; allowed: csv, "),
        (["generate", "a.csv", "--max-credits", "lots"], "--max-credits: 'lots' is no number of credits"),
        (["generate", "a.csv", "--max-credits", "-1"], "no number of credits"),
        (["generate", "a.csv", "--max-credits", "nan"], "no number of credits"),
        (["generate", "a.csv", "--price", "imagineapi"], "must be PROVIDER=VALUE"),
        (["generate", "a.csv", "--price", "dalle=1"], "with one of imaginelab, blockadelabs"),
        (["generate", "a.csv", "--price", "imagineapi=much"], "'much' is no number of credits"),
        (["generate", "a.csv", "--rate", "imagineapi=fast"], "fast"),
        (["generate", "a.csv", "--rate", "imagineapi:x=60/10s"], "must be PROVIDER=VALUE"),
        (["generate", "a.csv", "--credentials", "imagineapi:x=block"], "must be PROVIDER=VALUE"),
        (["generate", "a.csv", "--timing", "deadline=-1"], "must be name=seconds"),
        (
            ["generate", "a.csv", "--timing", "tea=5"],
            "names of deadline, create, settle, margin",
        ),
        (["generate", "a.csv", "--batch-id", "b", "--again"], "--batch-id does not go with --again"),
        (["generate", "fox.jsonl", "--batch-id", "../b"], "'../b' cannot be a batch id"),
        (["generate", "none.csv"], "none.csv cannot be read: No such file or directory"),
        (["generate", ".", "--format", "csv"], ". cannot be read: Is a directory"),
        (["generate", "fox"], "does not tell its format"),
        (["generate", "-"], "standard input does not tell its format: give --format"),
        (["generate", "-", "--format", "csv"], "there are no prompts"),
        (["generate", "fox.jsonl"], "column 'provider': is missing"),
        (["generate", "fox.jsonl", "--output", ""], "--output is empty"),
        (["generate", "fox.jsonl", "--output", "s3://"], "an S3 address is s3://bucket/prefix"),
        (["generate", "fox.jsonl", "--output", "s3:/bucket"], "an S3 address is s3://bucket/prefix"),
        (["generate", "fox.jsonl", "--output", "ftp://host/x"], "not to ftp://"),
        (["report"], "BATCH is missing"),
        (["status", "nothing-here"], "there is no batch 'nothing-here' under "),
        (["status", ""], "cannot be a batch id"),
        (["status", "s3://bucket"], "names no batch: write s3://bucket/prefix/BATCH"),
        (["resume", "nothing-here"], "there is no batch 'nothing-here' under "),
        (["report", "./no/where"], "there is no batch 'where' under "),
        (["cancel", "nothing-here"], "there is no batch"),
        (["reconcile", "nothing-here"], "there is no batch"),
        (["models", "dalle"], "there is no provider 'dalle'; allowed: imaginelab, "),
        (["models", "imagineapi"], "imagineapi does not list models; allowed: imaginelab, blockadelabs, "),
        (["balance", "blockadelabs"], "blockadelabs does not report a balance; allowed: imaginelab (see "),
    ],
    ids=" ".join,
)
def test_a_command_that_cannot_be_meant(
    bare_shell: Shell, prompts: Path, words: list[str], says: str
) -> None:
    provider = ["--provider", "imaginelab"] if "--output" in words or "--batch-id" in words else []
    assert_refused(bare_shell.run(*words, *provider, "--json"), says)


def test_standard_input_without_an_end_is_refused(bare_shell: Shell) -> None:
    endless = 'exec "$0" -m prefect_imagine "$@" < /dev/zero'
    shell = Shell(bare_shell.folder, bare_shell.environment, ("sh", "-c", endless, sys.executable))
    ended = shell.run("generate", "-", "--format", "yaml", "--json")
    assert_refused(ended, "standard input is larger than 64 MiB: split it")


def test_without_json_stdout_stays_empty(bare_shell: Shell) -> None:
    ended = bare_shell.run("generate", "none.csv")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == "error: none.csv cannot be read: No such file or directory\n"


def test_a_usage_error_is_one_line(bare_shell: Shell) -> None:
    ended = bare_shell.run("generate", "a.csv", "--max-credits", "lots")
    assert ended.stderr.count("\n") == 1
    assert "(see prefect-imagine generate --help)" in ended.stderr


BAD = """\
prompt,provider,kind,model,count,seed,duration,aspect_ratio,colour,settings.mood
,aivisualstudio,,,,,,,,
a fox,aivisualstdio,picture,,0,x,,,red,
a fox,aivisualstudio,,prunaai/z-imag-turbo,,,,17:9,,
a fox,aivisualstudio,video,,,,99,,,
{{animal},imaginelab,,,,,,,,
an {animal},imaginelab,,nomodel,1001,,-5,,,
a fox,imagineapi,music,,,-1,,,,
a fox,imagineapi,,,,,,,,calm
LONG,blockadelabs,,stable-skybox,,,,,,
a fox,blockadelabs,,stable-skybocks,,,,,,
"""
EVERYTHING_WRONG = [
    "row 1, column 'prompt': is empty",
    "row 2, column 'provider': unknown provider 'aivisualstdio'; did you mean aivisualstudio?",
    "row 2, column 'kind': unknown kind 'picture'; ",
    "row 2, column 'count': 0 is out of range; allowed: 1 to 1000",
    "row 2, column 'seed': 'x' is no whole number",
    "row 2, column 'colour': unknown column; ",
    "row 3, column 'model': aivisualstudio has no image model 'prunaai/z-imag-turbo'; did you mean prunaai/",
    "row 3, column 'aspect_ratio': '17:9' is not allowed; allowed: 1:1, 16:9",
    "row 4, column 'duration': 99 is out of range; allowed: 1 to 10",
    "row 5, column 'prompt': a lone '}': write '}}' for a brace",
    "row 6, column 'prompt': {animal} has no value in this row; ",
    "row 6, column 'model': imaginelab has no image model 'nomodel'; ",
    "row 6, column 'count': 1001 is out of range; allowed: 1 to 1000",
    "row 6, column 'duration': -5 is out of range; allowed: above 0",
    "row 7, column 'kind': imagineapi makes no music; allowed: image",
    "row 7, column 'seed': -1 is out of range; allowed: 0 to ",
    "row 8, column 'settings.mood': imagineapi takes no 'mood'; allowed: aspect_ratio, negative_prompt, seed",
    "row 9, column 'prompt': has 601 characters; at most 600 are allowed",
    "row 10, column 'model': blockadelabs has no image model 'stable-skybocks'; did you mean stable-skybox",
]


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_everything_wrong_in_a_file_is_told_at_once(bare_shell: Shell, more: list[str]) -> None:
    file = bare_shell.write("bad.csv", BAD.replace("LONG", "z" * 601))
    found = assert_refused_after_looking(bare_shell, "generate", file, *more)
    lines = found["error"].splitlines()
    assert lines[0] == f"{len(EVERYTHING_WRONG)} problems in the prompts:"
    for expected in EVERYTHING_WRONG:
        assert any(line.strip().startswith(expected) for line in lines), (
            f"{expected} is not in {found['error']}"
        )
    assert len(lines) == 1 + len(EVERYTHING_WRONG)


def test_what_the_providers_refuse_is_told_although_a_key_is_missing(bare_shell: Shell) -> None:
    lines = ["prompt,provider,count", "a,imaginelab,1", "b,aivisualstudio,0", f"{'z' * 601},blockadelabs,1"]
    file = bare_shell.write("bad.csv", "\n".join(lines))
    found = assert_refused_after_looking(bare_shell, "generate", file, IMAGINELAB_EMAIL=None)
    assert found["error"].splitlines() == [
        "3 problems in the prompts:",
        "  imaginelab: no key; set IMAGINELAB_EMAIL and IMAGINELAB_PASSWORD, or IMAGINELAB_TOKEN",
        "  row 2, column 'count': 0 is out of range; allowed: 1 to 1000",
        "  row 3, column 'prompt': has 601 characters; at most 600 are allowed",
    ]


def test_what_is_known_of_the_providers_is_told_without_any_key(
    bare_shell: Shell, providers: RunningSandbox
) -> None:
    lines = [
        "prompt,provider,model,aspect_ratio,seed",
        "a,aivisualstudio,,17:9,",
        "b,imagineapi,,,-1",
        "c,imagineapi,dalle,,",
        "d,imaginelab,,,",
        "e,blockadelabs,,,",
    ]
    file = bare_shell.write("bad.csv", "\n".join(lines))
    ended = bare_shell.run("generate", file, "--json", **dict.fromkeys(providers.environment))
    found = assert_refused(ended, "7 problems in the prompts:", *KEYS.values())
    assert found["error"].splitlines()[5:] == [
        "  row 1, column 'aspect_ratio': '17:9' is not allowed; allowed: 1:1, 16:9, 9:16, 4:3, 3:4, 3:2, 2:3",
        "  row 2, column 'seed': -1 is out of range; allowed: 0 to 4294967295",
        "  row 3, column 'model': imagineapi has one model, 'midjourney'; leave the column empty",
    ]


def test_what_a_provider_tells_is_told_although_the_key_of_another_is_missing(bare_shell: Shell) -> None:
    lines = ["prompt,provider", "a,imaginelab", f"{'z' * 601},blockadelabs"]
    file = bare_shell.write("bad.csv", "\n".join(lines))
    found = assert_refused_after_looking(bare_shell, "generate", file, IMAGINELAB_EMAIL=None)
    assert found["error"].splitlines()[1:] == [
        "  imaginelab: no key; set IMAGINELAB_EMAIL and IMAGINELAB_PASSWORD, or IMAGINELAB_TOKEN",
        "  row 2, column 'prompt': has 601 characters; at most 600 are allowed",
    ]


def assert_refused_after_looking(
    shell: Shell, *words: str | Path, **environment: str | None
) -> dict[str, str]:
    ended = shell.run(*words, "--json", **environment)
    assert ended.code == 2, ended.stderr
    assert len(ended.errors) == 1
    return assert_contract(ended)


KEYS = {
    "imaginelab": "IMAGINELAB_PASSWORD",
    "blockadelabs": "BLOCKADELABS_API_KEY",
    "imagineapi": "IMAGINEAPI_TOKEN",
    "aivisualstudio": "AIVISUALSTUDIO_API_KEY",
}


@pytest.mark.parametrize("provider", KEYS)
def test_a_missing_key_is_told_by_its_variable(bare_shell: Shell, prompts: Path, provider: str) -> None:
    for value in (None, "", "  "):
        changed = {KEYS[provider]: value, "IMAGINELAB_EMAIL": value}
        ended = bare_shell.run("generate", prompts, "--provider", provider, "--json", **changed)
        assert_refused(ended, f"{provider}: no key; set ", KEYS[provider])


def test_all_missing_keys_are_told_at_once(bare_shell: Shell, providers: RunningSandbox) -> None:
    lines = [json.dumps({"prompt": "x", "provider": provider}) for provider in KEYS]
    file = bare_shell.write("all.jsonl", "\n".join(lines))
    ended = bare_shell.run("generate", file, "--json", **dict.fromkeys(providers.environment))
    assert_refused(ended, *KEYS.values())


@pytest.mark.parametrize("provider", KEYS)
def test_a_wrong_key_is_told_without_being_shown(bare_shell: Shell, prompts: Path, provider: str) -> None:
    wrong = {KEYS[provider]: "hunter2-wrong"}
    ended = bare_shell.run("generate", prompts, "--provider", provider, "--json", **wrong)
    assert_refused(ended, f"{provider}: ", f"set {KEYS[provider].replace('_PASSWORD', '_EMAIL')}")
    assert "hunter2" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(("command", "provider"), [("balance", "imaginelab"), ("models", "aivisualstudio")])
def test_a_wrong_key_is_told_by_other_commands_too(bare_shell: Shell, command: str, provider: str) -> None:
    ended = bare_shell.run(command, provider, "--json", **{KEYS[provider]: "hunter2-wrong"})
    assert_refused(ended, f"{provider}: ")
    assert "hunter2" not in ended.stdout + ended.stderr


@pytest.mark.long
def test_addresses_that_nobody_answers_at_are_told_in_seconds(
    bare_shell: Shell, prompts: Path, s3_server: S3Server
) -> None:
    begun = time.monotonic()
    words = ("generate", prompts, "--provider", "imagineapi", "--json")
    api = bare_shell.start(*words, IMAGINEAPI_BASE_URL=NOWHERE)
    aws = {**s3_server.environment, "AWS_ENDPOINT_URL": NOWHERE}
    store = bare_shell.start(*words, "--output", "s3://some-bucket/x", **aws)
    server = bare_shell.start(*words, "--output", "elsewhere")
    ended, no_store, no_server = (bare_shell.end(each) for each in (api, store, server))
    shutil.rmtree(bare_shell.folder / "elsewhere", ignore_errors=True)  # a plan is kept: it can be resumed
    assert ended.code == 2
    assert f"imagineapi at {NOWHERE} cannot be reached" in assert_contract(ended)["error"]
    assert_refused(no_store, "nothing was created", "no answer from S3", "AWS_ENDPOINT_URL")
    assert_refused(no_server, "nothing was created", "PREFECT_API_URL")
    assert time.monotonic() - begun < GIVE_UP_SECONDS


def test_workers_without_a_pool_are_refused(bare_shell: Shell, prompts: Path) -> None:
    ended = bare_shell.run("generate", prompts, "--provider", "imaginelab", "--workers", "3", "--json")
    assert_refused(ended, "--workers share the batch that --fleet POOL hands to a work pool: name it")


@pytest.mark.long
def test_an_outage_before_anything_is_created_is_no_bad_input(
    bare_shell: Shell, prompts: Path, providers: RunningSandbox
) -> None:
    providers.faults.add(FaultRule("error_before", provider="imagineapi", status=503))
    ended = bare_shell.run("generate", prompts, "--provider", "imagineapi", "--json")
    providers.faults.clear()
    assert ended.code == 5
    assert "nothing was created: run the same again later" in assert_contract(ended)["error"]


@pytest.mark.parametrize(
    "url", ["nonsense", "http://user:pw@127.0.0.1", "http://127.0.0.1/?key=1", "ftp://x"]
)
def test_an_address_that_is_none_is_told(bare_shell: Shell, prompts: Path, url: str) -> None:
    ended = bare_shell.run("generate", prompts, "--provider", "imagineapi", "--json", IMAGINEAPI_BASE_URL=url)
    assert_refused(ended, "imagineapi: the base URL must be http(s)://host/path without query or password")


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_created(
    bare_shell: Shell, prompts: Path
) -> None:
    words = ("generate", prompts, "--provider", "imaginelab", "--json")
    for output in ("fox.jsonl", "fox.jsonl/below"):
        ended = bare_shell.run(*words, "--output", output)
        assert ended.code == 2
        assert "nothing was created: " in assert_contract(ended)["error"]


def test_a_bucket_that_is_not_there_is_found_before_anything_is_created(
    bare_shell: Shell, prompts: Path, s3_server: S3Server
) -> None:
    environment = s3_server.environment
    words = ("generate", prompts, "--provider", "imaginelab", "--json", "--output", "s3://not-there/x")
    assert_refused(bare_shell.run(*words, **environment), "create the bucket or correct the address")
    stranger = {**environment, "AWS_SECRET_ACCESS_KEY": "hunter2-wrong"}
    ended = bare_shell.run(*words, **stranger)
    assert_refused(ended, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    assert "hunter2" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_bucket_that_is_not_there_has_no_batches(
    bare_shell: Shell, s3_server: S3Server, command: str
) -> None:
    ended = bare_shell.run(command, "s3://not-there/x", "--json", **s3_server.environment)
    assert_refused(ended, "NoSuchBucket")


def test_a_budget_needs_prices(bare_shell: Shell) -> None:
    lines = [json.dumps({"prompt": "x", "provider": provider}) for provider in KEYS]
    words = ("generate", bare_shell.write("all.jsonl", "\n".join(lines)), "--max-credits", "100", "--json")
    ended = bare_shell.run(*words)
    assert ended.code == 2
    assert "blockadelabs, imagineapi" in assert_contract(ended)["error"]
    ended = bare_shell.run(*words, "--price", "blockadelabs=1")
    assert ended.code == 2
    assert (
        "set a price when the batch is made, such as --price imagineapi=1" in assert_contract(ended)["error"]
    )
    ended = bare_shell.run(*words, "--price", "blockadelabs=1", "--price", "imagineapi=0", "--dry-run")
    assert ended.code == 0, ended.stderr


def test_a_name_and_an_encoding_that_nobody_expects_still_get_their_answer(bare_shell: Shell) -> None:
    ended = bare_shell.run("generate", "caf\udce9.csv", "--json", PYTHONIOENCODING="ascii")
    assert_refused(ended, "cannot be read: No such file or directory")
    file = bare_shell.write("odd.txt", "日本の狐\n")
    ended = bare_shell.run("generate", file, "--kind", "text", "--json", PYTHONIOENCODING="ascii")
    assert_refused(ended, "column 'provider': is missing")


def test_a_port_that_is_taken_is_told(bare_shell: Shell, providers: RunningSandbox) -> None:
    port = providers.url.rpartition(":")[2]
    ended = bare_shell.run("sandbox", "--port", port)
    assert ended.code == 2
    assert f"port {port} cannot be listened on" in ended.stderr


def test_a_folder_that_prefect_cannot_write_is_told(bare_shell: Shell, prompts: Path) -> None:
    """A file in its place stops root too."""
    home = bare_shell.write("no-folder", "")
    words = ("generate", prompts, "--provider", "imaginelab", "--json")
    ended = bare_shell.run(*words, PREFECT_HOME=str(home))
    assert_refused(ended, str(home), "set PREFECT_HOME")
    assert not (bare_shell.folder / "outputs").exists()


@pytest.mark.long
@pytest.mark.parametrize("command", ["balance", "generate"])
def test_a_block_on_a_server_that_is_gone_is_told(bare_shell: Shell, prompts: Path, command: str) -> None:
    generate = ("generate", prompts, "--provider", "imaginelab")
    words = ("balance", "imaginelab") if command == "balance" else generate
    block = ("--credentials", "imaginelab=team")
    ended = bare_shell.run(*words, *block, "--json", PREFECT_API_URL=f"{NOWHERE}/api")
    assert_refused(ended, "PREFECT_API_URL")

"""The worker's image, as far as its recipe tells; nothing here builds it."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib import import_module

import pytest
import yaml
from prefect import Flow

from tests.operations.site import ROOT

Instructions = list[tuple[str, str]]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


def _stages() -> list[Instructions]:
    """The instructions of each stage, as name and arguments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    instructions = [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]
    stages: list[Instructions] = []
    for each in instructions:
        if each[0] == "FROM":
            stages.append([])
        stages[-1].append(each)
    return stages


def _arguments(instructions: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [arguments for each, arguments in instructions if each == name]


def _in_context(name: str) -> bool:
    """Whether docker sends a file or folder at the top: the last pattern that matches says so."""
    verdict = True
    for pattern in _IGNORED:
        if fnmatch(name, pattern.removeprefix("!")):
            verdict = pattern.startswith("!")
    return verdict


BUILD, WORKER = _stages()


def test_both_stages_are_on_the_same_small_pinned_python() -> None:
    images = {_arguments(stage, "FROM")[0].partition(" AS ")[0] for stage in (BUILD, WORKER)}
    (image,) = images
    found = re.fullmatch(r"python:3\.(\d+)-slim", image)
    assert found, image
    assert int(found[1]) >= 11


def test_only_pinned_versions_are_installed_and_nothing_in_the_last_stage() -> None:
    (install,) = (each for each in _arguments(BUILD, "RUN") if "pip install" in each)
    assert "--constraint constraints.txt" in install
    assert "--no-cache-dir" in install
    assert not re.search(r"pip |apt", " ".join(_arguments(WORKER, "RUN")))


def test_everything_that_is_copied_is_there() -> None:
    for stage in (BUILD, WORKER):
        for arguments in _arguments(stage, "COPY"):
            words = shlex.split(arguments)
            if words[0] == "--from=build":
                assert f"{words[1]}/bin/pip install" in " ".join(_arguments(BUILD, "RUN"))
                continue
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
                assert source == "." or _in_context(source), source


def test_the_context_is_what_the_package_needs_and_nothing_private() -> None:
    folders = {path.partition("/")[0] for path in _PROJECT["tool"]["setuptools"]["package-dir"].values()}
    project = _PROJECT["project"]
    needed = {*folders, "pyproject.toml", "constraints.txt", project["readme"], *project["license-files"]}
    assert all(_in_context(name) for name in needed)
    private = (".git", ".venv", "outputs", "imagine.env", ".env", "tests", "prefect-worker.log")
    assert not any(_in_context(name) for name in private)


def test_it_runs_as_nobody_special_and_holds_no_secret() -> None:
    names = [name for name, _ in WORKER]
    assert _arguments(WORKER, "USER")[-1] not in ("root", "0")
    assert names.index("USER") < names.index("ENTRYPOINT")
    settings = " ".join(_arguments(BUILD + WORKER, "ENV") + _arguments(BUILD + WORKER, "ARG"))
    assert not re.search("KEY|TOKEN|SECRET|PASSWORD", settings)


def test_it_is_a_worker_of_the_pool_that_is_deployed_to() -> None:
    (entrypoint,), (pool,) = _arguments(WORKER, "ENTRYPOINT"), _arguments(WORKER, "CMD")
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools = {each["name"]: each["work_pool"]["name"] for each in deployed["deployments"]}
    started = [*json.loads(entrypoint), *json.loads(pool)]
    assert (started[:3], started[-2:]) == (
        ["prefect", "worker", "start"],
        ["--pool", pools["generate-batch"]],
    )


def test_what_stops_mends_or_collects_a_batch_does_not_wait_behind_it() -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools = {each["name"]: each["work_pool"]["name"] for each in deployed["deployments"]}
    beside = {name for name, pool in pools.items() if pool == pools["cancel-batch"]}
    assert beside == {"cancel-batch", "collect", "resume-crashed"}


def test_runs_work_where_their_worker_was_started() -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert {each["work_pool"]["job_variables"]["working_dir"] for each in deployed["deployments"]} == {"."}
    (step,) = deployed["pull"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": "."}}


@pytest.mark.parametrize(
    "entrypoint",
    sorted(
        {each["entrypoint"] for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    ),
)
def test_what_is_deployed_is_a_flow_of_the_installed_package(entrypoint: str) -> None:
    module, _, name = entrypoint.rpartition(".")
    assert module.partition(".")[0] == "prefect_imagine"
    assert isinstance(getattr(import_module(module), name), Flow)

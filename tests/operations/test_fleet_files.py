"""ops/fleet holds together: placeholders and variables, settings, commands and images that there are."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prefect.cli._app import _app as prefect_command_line
from prefect.settings import Settings
from prefect.settings.legacy import _get_valid_setting_names
from prefect.utilities.schema_tools.validation import is_valid_schema, validate
from prefect.utilities.templating import find_placeholders
from prefect_aws.workers.ecs_worker import ECSJobConfiguration
from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings
from prefect_redis.client import RedisMessagingSettings
from prefect_redis.messaging import RedisMessagingPublisherSettings

from prefect_imagine.cli.arguments import PROGRAM, parse
from prefect_imagine.tasks.termination import DECIDED_SECONDS
from tests.operations.fleet_files import (
    COMPOSE,
    REQUIRED,
    ROOT,
    TEMPLATES,
    compose_services,
    job_command,
    setup_script,
    template,
)

KINDS = sorted(TEMPLATES)
ENGINE_SECONDS = 30
"""What workers give a process to end, which a run counts on."""
_VARIABLE = re.compile(r"\$\{(\w+)(:[-?])?([^}]*)\}")


@pytest.mark.parametrize("kind", KINDS)
def test_placeholders_are_variables_and_variables_are_used(kind: str) -> None:
    found = template(kind)
    used = {each.name for each in find_placeholders(found["job_configuration"])}
    assert used == set(found["variables"]["properties"])


@pytest.mark.parametrize("kind", KINDS)
def test_variables_are_a_schema_that_its_own_defaults_fit(kind: str) -> None:
    variables = template(kind)["variables"]
    is_valid_schema(variables)
    properties = variables["properties"]
    assert set(variables["required"]) == set(REQUIRED[kind])
    assert not any("default" in properties[name] for name in variables["required"])
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    validate({**defaults, **REQUIRED[kind]}, variables, raise_on_error=True)
    for name, each in properties.items():
        assert each["title"], name
        assert each["description"].endswith("."), name


@pytest.mark.parametrize(
    ("kind", "grace"), [("kubernetes", "termination_grace_seconds"), ("ecs", "stop_timeout_seconds")]
)
def test_a_job_has_the_time_to_hand_over_and_is_not_tried_again(kind: str, grace: str) -> None:
    found = template(kind)
    seconds = found["variables"]["properties"][grace]
    assert seconds["default"] >= seconds["minimum"] > max(ENGINE_SECONDS, DECIDED_SECONDS)
    if kind == "kubernetes":
        manifest = found["job_configuration"]["job_manifest"]["spec"]
        assert (manifest["backoffLimit"], manifest["template"]["spec"]["restartPolicy"]) == (0, "Never")


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_replaces_what_the_image_begins_with(kind: str) -> None:
    """The image's entry point is a worker, to which a command would be arguments."""
    configuration = template(kind)["job_configuration"]
    if kind == "kubernetes":
        [container] = configuration["job_manifest"]["spec"]["template"]["spec"]["containers"]
        assert (container["command"], container["args"]) == (["env"], "{{ command }}")
    else:
        [container] = configuration["task_definition"]["containerDefinitions"]
        assert container["entryPoint"] == ["env"]
    python, flag, module = shlex.split(job_command(kind))
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None


async def test_the_ecs_worker_reads_its_template(prefect_server: str) -> None:
    configuration: Any = await ECSJobConfiguration.from_template_and_values(template("ecs"), REQUIRED["ecs"])
    [container] = configuration.task_definition["containerDefinitions"]
    assert (container["image"], container["stopTimeout"]) == (REQUIRED["ecs"]["image"], 60)
    assert configuration.task_run_request["launchType"] == "FARGATE_SPOT"
    assert configuration.command == job_command("ecs")


def test_images_are_pinned_or_built_here() -> None:
    for name, service in compose_services().items():
        assert "build" in service or re.search(r":v?\d+\.\d+(\.\d+)?$", service["image"]), name
        assert "build" not in service or (COMPOSE.parent / service["build"] / "Dockerfile").exists(), name


def test_secrets_have_no_default_and_what_is_missing_is_named() -> None:
    said: dict[str, str] = {}
    for name, rule, text in _VARIABLE.findall(COMPOSE.read_text(encoding="utf-8")):
        assert rule, f"{name} may be missing, and nobody is told"
        if re.search("PASSWORD|AUTH|KEY|FILE|OUTPUT", name):
            assert rule == ":?", f"{name} has a default"
        said[name] = said.get(name, "") or text
    assert all(said.values()), said


def test_nothing_listens_to_other_machines() -> None:
    ports = [each for service in compose_services().values() for each in service.get("ports", [])]
    assert ports == ["127.0.0.1:4200:4200"]


def test_what_runs_on_is_looked_after() -> None:
    services = compose_services()
    for name, service in services.items():
        ends = service.get("restart") == "no"
        assert ends or service["restart"] == "unless-stopped", name
        for needed, how in service.get("depends_on", {}).items():
            other = services[needed]
            if how["condition"] == "service_completed_successfully":
                assert other["restart"] == "no", f"{name} waits for {needed}, which does not end"
            else:
                assert how["condition"] == "service_healthy"
                assert "test" in other["healthcheck"], f"{name} waits for {needed}, which tells nothing"
    # The image's own check asks a worker, as these are.
    assert {name for name, each in services.items() if "build" in each and "healthcheck" not in each} == {
        "worker",
        "control",
    }


def _environments() -> Iterator[tuple[str, str]]:
    for service in compose_services().values():
        yield from service.get("environment", {}).items()


def test_every_setting_is_one_of_prefects() -> None:
    known = {*_get_valid_setting_names(Settings)}
    messaging = (RedisMessagingSettings, RedisMessagingPublisherSettings)
    for settings in (*messaging, RedisWorkerCleanupQueueSettings):
        known |= {f"{settings.model_config['env_prefix']}{field}".upper() for field in settings.model_fields}
    used = {name for name, _ in _environments() if name.startswith("PREFECT_")}
    assert used - known == set()
    modules = {value for _, value in _environments() if value.startswith("prefect_redis.")}
    assert len(modules) == 4
    assert all(importlib.util.find_spec(module) for module in modules)


def _command_lines() -> Iterator[list[str]]:
    entrypoint = json.loads(
        re.findall(r"^ENTRYPOINT (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    )
    for name, service in compose_services().items():
        if "build" in service and name != "setup":
            words = [*service.get("entrypoint", entrypoint), *service["command"]]
            yield [_VARIABLE.sub(r"\3", word) for word in words]
    for line in setup_script().splitlines():
        for part in re.split(r"\|\||[<>]", line):
            if part.split()[:1] in (["prefect"], [PROGRAM]):
                yield shlex.split(part)


@pytest.mark.parametrize("words", list(_command_lines()), ids=" ".join)
def test_every_command_line_can_be_read(words: list[str]) -> None:
    program, *arguments = [word for word in words if word != "--no-prompt"]
    if program == PROGRAM:
        parse(arguments)
    else:
        prefect_command_line.parse_args(arguments, exit_on_error=False, print_error=False)


def test_workers_are_those_of_the_pools_that_are_deployed_to() -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    pools = {each["work_pool"]["name"] for each in deployed}
    services = compose_services()
    assert {services[name]["command"][0] for name in ("worker", "control")} == pools
    made = re.search(r"^for pool in (.+); do$", setup_script(), re.MULTILINE)
    assert made is not None
    assert set(made[1].split()) == pools
    left_out = re.findall(r"deployment delete \S+/(\S+)", setup_script())
    assert {*left_out} <= {each["name"] for each in deployed}

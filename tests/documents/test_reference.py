"""The reference is what the code says: what is new appears in it, and nothing in it is undescribed."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from cyclopts import App, Parameter
from pydantic import BaseModel

import prefect_imagine
from docs._generate.command_line import page_of as command_page_of
from docs._generate.docstrings import described
from docs._generate.environment import OWN, environment_page
from docs._generate.events import event_page, events
from docs._generate.fields import fields_of, with_nested
from docs._generate.formats import FILES, stored_models
from docs._generate.members import members_of
from docs._generate.metrics import page_of as metric_page_of
from docs._generate.modules import all_modules
from docs._generate.pages import reference
from prefect_imagine import errors, flows, tasks
from prefect_imagine.cli.arguments import COMMANDS
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Output
from prefect_imagine.engine import traces
from prefect_imagine.tasks.events import Event
from tests.documents.blocks import ROOT

TEXT = {page.name: page.markdown for page in reference()}


def test_the_reference_is_made_of_all_modules() -> None:
    files = {
        path
        for folder in ("prefect_imagine", "flows", "tasks", "blocks")
        for path in (ROOT / folder).rglob("*.py")
    }
    left = {"__main__.py"} | {path.name for path in (ROOT / "prefect_imagine/testing").glob("*.py")}
    known = {Path(module.__file__ or "").resolve() for module in all_modules()}
    assert {path for path in files - known if path.name not in left and path.name != "__init__.py"} == set()


def test_every_command_and_each_of_its_options_is_there() -> None:
    text = TEXT["command-line"]
    assert re.findall(r"^## ([a-z -]+)$", text, re.MULTILINE) == [*COMMANDS]
    assert "`--max-credits N`" in text
    assert "where the batches are (default: `./outputs`)" in text


def test_a_new_command_appears() -> None:
    app = App(name="prefect-imagine")

    @app.command(name="weigh", help_epilogue="examples:\n  prefect-imagine weigh fox")
    def weigh(
        batch: str, /, *, under: Output = DEFAULT_OUTPUT, grams: Annotated[int, Parameter(metavar="N")] = 5
    ) -> None:
        """Weigh a batch.

        Args:
            batch: which one.
            grams: how exactly | or not.
        """

    text = command_page_of(app).markdown
    assert "## weigh\n\nWeigh a batch." in text
    assert "which one" in text
    assert "| `--grams N` | how exactly &#124; or not (default: `5`) |" in text
    assert "$ prefect-imagine weigh fox" in text


@pytest.mark.parametrize(("module", "page"), [(flows, "flows"), (tasks, "tasks")])
def test_flows_and_tasks_are_there_with_all_parameters_described(module: object, page: str) -> None:
    assert inspect.ismodule(module)
    assert members_of(module) in TEXT[page]
    for name in module.__all__:
        assert f"::: {module.__name__}.{name}" in TEXT[page]
        function = getattr(module, name).fn
        for parameter in inspect.signature(function).parameters:
            assert described(function.__doc__).get(parameter), f"{name}: {parameter}"


def test_every_error_is_there() -> None:
    named = [each for each in vars(errors).values() if isinstance(each, type)]
    for error in named:
        if issubclass(error, errors.ImagineError):
            assert f"::: {error.__module__}.{error.__name__}\n" in TEXT["errors"] + "\n"
            assert re.search(rf"\b{error.__name__}\b", errors.__doc__ or ""), error.__name__


def test_what_people_import_is_somewhere() -> None:
    whole = "\n".join(TEXT.values())
    for name in prefect_imagine.__all__:
        assert re.search(rf"^(## |::: .*\.){name}$|`{name}`", whole, re.MULTILINE), name


# --- events ---


class Weighed(Event):
    """A batch was weighed.

    Attributes:
        grams: how heavy it is.
    """

    NAME: ClassVar[str] = "imagine.batch.weighed"

    grams: int


def test_a_new_event_appears_with_its_payload() -> None:
    text = event_page([Weighed]).markdown
    assert "## imagine.batch.weighed\n\nA batch was weighed." in text
    assert "| **`grams`**<br>`int` | How heavy it is. |" in text
    assert Weighed(grams=3).payload == {"grams": 3}


def _calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    for module in all_modules():
        source = inspect.getsourcefile(module)
        assert source is not None
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and name in (
                getattr(node.func, "id", ""),
                getattr(node.func, "attr", ""),
            ):
                yield Path(source), node


def test_only_documented_events_are_sent() -> None:
    assert {path.relative_to(ROOT).as_posix() for path, _ in _calls("emit_event")} == {"tasks/events.py"}


@pytest.mark.parametrize("event", events(), ids=lambda event: str(event.NAME))
def test_every_documented_event_is_sent(event: type[Event]) -> None:
    assert list(_calls(event.__name__)), f"nothing makes a {event.__name__}"
    assert f"## {event.NAME}\n" in TEXT["events"]


def test_what_looks_like_an_event_is_one() -> None:
    known: set[str] = {event.NAME for event in events()}
    known |= {value for value in vars(traces).values() if isinstance(value, str)}  # attributes of spans
    pattern = re.compile(r"imagine\.(?:batch|budget|credits|generation|job|account)\.[a-z_]+")
    sending = (
        module for module in all_modules() if module.__name__.startswith((tasks.__name__, flows.__name__))
    )
    for module in sending:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and pattern.fullmatch(text):
                assert text in known, f"{module.__name__}: {text}"


# --- files, options, environment, metrics ---


def _documented() -> list[type]:
    listed = [model for _, _, models in FILES for model in models]
    public = [getattr(prefect_imagine, name) for name in prefect_imagine.__all__]
    models = [each for each in public if isinstance(each, type) and issubclass(each, BaseModel)]
    return with_nested([*listed, *models, *events()])


@pytest.mark.parametrize("model", _documented(), ids=lambda model: str(model.__name__))
def test_every_field_is_described(model: type) -> None:
    assert [each.name for each in fields_of(model) if not each.meaning] == []


def test_every_model_that_a_batch_is_stored_with_is_there() -> None:
    text = TEXT["formats"] + TEXT["options"]
    for model in stored_models():
        assert re.search(rf"^#+ {model.__name__}$", text, re.MULTILINE), model.__name__


def test_every_environment_variable_of_ours_is_there() -> None:
    text = environment_page().markdown
    for module in all_modules():
        for name in OWN.findall(inspect.getsource(module)):
            assert f"`{name}`" in text, f"{module.__name__}: {name}: describe it below a constant"


def test_metrics_appear_where_there_is_an_exporter() -> None:
    there = importlib.util.find_spec("prefect_imagine.metrics") is not None
    assert ("metrics" in TEXT) is there


class _Metric:
    name = "imagine_grams"
    type = "gauge"
    labels = ("provider",)
    help = "how heavy batches are"


def test_a_new_metric_appears() -> None:
    text = metric_page_of([_Metric()]).markdown
    assert "| `imagine_grams`<br>gauge | How heavy batches are. Labels: `provider`. |" in text

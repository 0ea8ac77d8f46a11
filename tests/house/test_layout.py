"""The layout is the architecture: imports run downwards, and names are where they are said to be."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BELOW = {
    "prefect_imagine": {"flows", "tasks", "blocks", "batches", "providers", "stores", "sandbox", "examples"},
    "flows": {"tasks", "blocks", "batches", "providers", "stores"},
    "tasks": {"blocks", "batches", "providers", "stores"},
    "blocks": {"batches", "providers", "stores"},
    "batches": {"providers", "stores"},
    "providers": set(),
    "stores": set(),
    "sandbox": set(),
    "examples": set(),
}
# Leaves that every room may use: they import none.
LEAVES = {"boot_clock", "errors", "redaction", "threads"}
WITHOUT_PREFECT = ("batches", "providers", "stores", "sandbox")


def _modules(room: str) -> Iterator[Path]:
    yield from sorted((ROOT / room).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_downwards(room: str) -> None:
    allowed = BELOW[room] | {room} | (set() if room == "sandbox" else LEAVES)
    for path in _modules(room):
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] == "prefect_imagine" and len(parts) > 1:
                inside = room == "prefect_imagine" and parts[1] in {"cli"}
                assert parts[1] in allowed or inside, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", BELOW)
def test_nothing_imports_a_bare_room(room: str) -> None:
    for path in _modules(room):
        assert not {name.split(".")[0] for name in _imports(path)} & (set(BELOW) - {"prefect_imagine"})


@pytest.mark.parametrize("room", WITHOUT_PREFECT)
def test_the_lower_rooms_never_import_prefect(room: str) -> None:
    for path in _modules(room):
        assert "prefect" not in {name.split(".")[0] for name in _imports(path)}, path.relative_to(ROOT)


@pytest.mark.parametrize(
    "name", ["prefect_imagine", *(f"prefect_imagine.{room}" for room in WITHOUT_PREFECT)]
)
def test_importing_a_lower_room_does_not_load_prefect(name: str) -> None:
    code = f"import sys, {name}; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False).returncode == 0


@pytest.mark.parametrize(
    "name", ["prefect_imagine", *(f"prefect_imagine.{room}" for room in BELOW if room != "prefect_imagine")]
)
def test_public_names_exist_once(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))  # ruff keeps them sorted
    assert all(hasattr(module, each) for each in listed)


def test_the_face_offers_what_people_are_told_to_import() -> None:
    import prefect_imagine

    assert set(prefect_imagine.__all__) == set(prefect_imagine._HOMES)
    public = {
        "create_generations",
        "poll_generations",
        "fetch_outputs",
        "store_outputs",
        "cancel_generations",
        "get_balance",
        "list_models",
        "estimate_credits",
    }
    assert public == set(importlib.import_module("prefect_imagine.tasks").__all__)
    assert public < set(prefect_imagine.__all__)
    assert importlib.import_module("prefect_imagine.flows").generate_batch is prefect_imagine.generate_batch


def test_what_a_batch_is_told_and_tells_is_made_of_names_on_the_face() -> None:
    import prefect_imagine

    assert {"BatchOptions", "Output", "PriceList", "Rotation", "Timing"} < set(prefect_imagine.__all__)
    for name, field in prefect_imagine.BatchOptions.model_fields.items():
        assert field.description, name
        assert f"\n    {name}: " in inspect.cleandoc(prefect_imagine.BatchOptions.__doc__ or ""), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    import prefect_imagine

    with pytest.raises(AttributeError, match="no_such_name"):
        _ = prefect_imagine.no_such_name


def test_every_module_says_what_it_is_for() -> None:
    for room in BELOW:
        for path in _modules(room):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path.relative_to(ROOT)

"""The layout is the architecture: imports run downwards, and names are where they are said to be."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "prefect_imagine"
MAPPED = ("flows", "tasks", "blocks")
ORDER = (
    "cli",
    "flows",
    "tasks",
    "blocks",
    "testing",
    "metrics",
    "warehouse",
    "webhooks",
    "engine",
    "reports",
    "billing",
    "batches",
    "prompts",
    "providers",
    "stores",
)
"""Each may import itself and those below it."""
INSIDE: Mapping[str, tuple[str, ...]] = {
    "engine": (
        "fleet",
        "maintenance",
        "collecting",
        "open_session",
        "run_loop",
        "session",
        "control",
        "deliveries",
        "shards",
        "stages",
        "sharing",
        "mover",
        "provider_run",
        "ways",
        "traces",
        "admission",
        "arrivals",
        "job_index",
        "books",
        "budgets",
        "open_shards",
        "queues",
        "cadence",
        "latencies",
        "pending_limit",
        "failure_timer",
        "wake_up",
        "history",
        "planning",
        "observer",
        "traffic",
    ),
    "providers": (
        "balances",
        "on_refusal",
        "registry",
        "apis",
        "base",
        "spec",
        "protocol",
        "transport",
        "limits",
        "listing",
        "webhook_scheme",
        "webhooks",
        "signatures",
        "wire",
        "checks",
        "prices",
        "models",
        "names",
        "credits",
    ),
    "sandbox": ("server", "apis", "core", "media"),
}
"""The same within those packages that hold others."""
LEAVES = {"backoff", "clock", "errors", "failpoints", "heap", "line_file", "redaction", "threads", "tracing"}
"""Modules that every package but the sandbox may use: of the packages they import none when they run."""
WITHOUT_PREFECT = (
    "testing",
    "metrics",
    "warehouse",
    "webhooks",
    "engine",
    "reports",
    "billing",
    "batches",
    "prompts",
    "providers",
    "stores",
    "sandbox",
)
LONGEST_FILE = 350
FILES_A_FOLDER = 22
DEPTH = 2


def _folder(package: str) -> Path:
    return ROOT / package if package in MAPPED else LIBRARY / package


def _modules(package: str) -> list[Path]:
    return sorted(_folder(package).rglob("*.py"))


def _all_modules() -> list[Path]:
    return sorted(chain(LIBRARY.rglob("*.py"), *(map(_modules, MAPPED))))


def _imports(path: Path) -> Iterator[str]:
    """What a module imports of this project, below its name: `providers.models`."""
    for node in _at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from names


def _at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _at_run_time(node)


def _own(path: Path) -> Iterator[tuple[str, ...]]:
    for name in _imports(path):
        parts = tuple(name.split("."))
        if parts[0] == "prefect_imagine":
            yield parts[1:]


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_downwards(package: str) -> None:
    allowed = {*ORDER[ORDER.index(package) :], *LEAVES} | ({"sandbox"} if package == "cli" else set())
    for path in _modules(package):
        for parts in _own(path):
            assert parts[0] in allowed, f"{path.relative_to(ROOT)} imports {'.'.join(parts)}"


def test_the_sandbox_imports_nothing_but_itself() -> None:
    for path in _modules("sandbox"):
        assert {parts[0] for parts in _own(path)} <= {"sandbox"}, path.relative_to(ROOT)


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_import_leaves_only(leaf: str) -> None:
    assert {parts[0] for parts in _own(LIBRARY / f"{leaf}.py")} <= LEAVES


@pytest.mark.parametrize("package", INSIDE)
def test_imports_run_downwards_within_a_package(package: str) -> None:
    order = INSIDE[package]
    for path in _modules(package):
        part = path.relative_to(LIBRARY / package).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for parts in _own(path):
            if parts[0] == package:
                assert parts[1] in order[order.index(part) :], f"{path.relative_to(ROOT)}: {'.'.join(parts)}"


def test_nothing_imports_a_mapped_folder_by_its_bare_name() -> None:
    for path in _all_modules():
        assert not {name.split(".")[0] for name in _imports(path)} & {*MAPPED, *ORDER}, path


def test_folders_and_files_stay_small() -> None:
    for folder in {path.parent for path in _all_modules()}:
        assert len(list(folder.glob("*.py"))) <= FILES_A_FOLDER, folder
    for path in _all_modules():
        name = path.relative_to(ROOT).as_posix().removeprefix("prefect_imagine/")
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE, name
        assert path.relative_to(ROOT).as_posix().count("/") <= DEPTH + 1, name


def test_every_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY.rglob("__init__.py")}
    found |= {f"prefect_imagine.{name}" for name in MAPPED}
    assert set(project["tool"]["setuptools"]["packages"]) == found


@pytest.mark.parametrize("package", WITHOUT_PREFECT)
def test_the_lower_packages_never_import_prefect(package: str) -> None:
    for path in _modules(package):
        assert "prefect" not in {name.split(".")[0] for name in _imports(path)}, path.relative_to(ROOT)


@pytest.mark.parametrize(
    "name", ["prefect_imagine", *(f"prefect_imagine.{package}" for package in WITHOUT_PREFECT)]
)
def test_importing_a_lower_package_does_not_load_prefect(name: str) -> None:
    code = f"import sys, {name}; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False).returncode == 0


@pytest.mark.parametrize(
    "name", ["prefect_imagine", *(f"prefect_imagine.{package}" for package in (*ORDER, "sandbox"))]
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
        "register_webhook",
        "list_webhooks",
        "update_webhook",
        "remove_webhook",
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
    for path in _all_modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path.relative_to(ROOT)

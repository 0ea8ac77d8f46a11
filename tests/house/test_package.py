"""The package installs and imports where nothing else is, and its pins name no index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from prefect_imagine.reports.report_page import SCRIPTS, STYLES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    [built] = folder.glob("*.whl")
    return built


@pytest.mark.long
def test_the_wheel_holds_every_package_and_nothing_generic(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"prefect_imagine"}
    for wanted in (
        "prefect_imagine/py.typed",
        "prefect_imagine/flows/generate.py",
        "prefect_imagine/reports/page/report.html.j2",
        *(f"prefect_imagine/reports/page/{name}.css" for name in STYLES),
        *(f"prefect_imagine/reports/page/{name}.js" for name in SCRIPTS),
        "prefect_imagine/sandbox/media/clip.mp4",
        "prefect_imagine/cli/prompts.csv",
        "prefect_imagine/warehouse/reconciliation.sql",
    ):
        assert wanted in names


@pytest.mark.long
def test_the_wheel_imports_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Every module is imported from the wheel; only the dependencies come from this environment."""
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    modules = sorted(
        ".".join(path.relative_to(target).with_suffix("").parts)
        for path in (target / "prefect_imagine").rglob("*.py")
        if path.stem not in ("__init__", "__main__")
    )
    code = (
        "import importlib, sys\n"
        f"sys.meta_path = [each for each in sys.meta_path if 'editable' not in repr(each).lower()]\n"
        f"sys.path.insert(0, {str(target)!r})\n"
        f"for name in {modules!r}:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(target)!r}), name\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_prefect_finds_the_blocks_by_their_entry_point() -> None:
    [found] = [each for each in entry_points(group="prefect.collections") if each.name == "prefect_imagine"]
    assert found.load().__name__ == "prefect_imagine.blocks"


def test_every_dependency_is_pinned_without_an_address() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^@/:]+", pin) for pin in pins)
    pinned = {re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", line)[0]).lower() for line in asked}
    assert names <= pinned


@pytest.mark.long
def test_installed_versions_fit_together() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_windows_is_refused_in_a_sentence() -> None:
    code = "import importlib, typing, sys; sys.platform = 'win32'; import prefect_imagine"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "ImportError: prefect-imagine needs a POSIX system (Linux, macOS): it locks files with fcntl"
    )


STAND_IN = """\
#!/bin/sh
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*" install "*)
    for n in $(seq 60); do echo "Collecting package-$n"; echo "  Using cached package-$n.whl"; done
    echo "Installing collected packages: a, b, c"
    exit $PIP_ENDS ;;
esac
"""


@pytest.mark.parametrize("status", [0, 1])
def test_an_installation_tells_in_a_few_lines_how_it_goes(tmp_path: Path, status: int) -> None:
    """With a python that installs nothing, since the real one takes minutes."""
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    venv = tmp_path / "venv"
    ended = subprocess.run(
        ["make", "install", f"PYTHON={python}", f"VENV={venv}"],
        cwd=ROOT,
        env={**os.environ, "PIP_ENDS": str(status)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) is (status == 0), ended.stderr
    assert (venv / ".installed").exists() is (status == 0)
    lines = ended.stdout.splitlines()
    assert "a few minutes the first time" in ended.stdout
    assert [line for line in lines if "so far" in line or line.startswith("Installing 3")] == [
        "  25 packages so far",
        "  50 packages so far",
        "Installing 3 in all …",
    ]
    assert len(lines) < 15


def test_every_make_target_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert targets is not None
    listed = targets[1].split()
    for target in listed:
        assert re.search(rf"^{target}:.* ## .+", text, re.MULTILINE), target
    assert {"help", "install", "demo", "test", "test-all", "lint", "types", "bench", "clean"} <= {*listed}

"""What the workflows say of the project is what it is."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_workflow_tests_the_python_versions_that_the_package_names() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    prefix = "Programming Language :: Python :: "
    named = [each.removeprefix(prefix) for each in PROJECT["classifiers"] if each.startswith(prefix)]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"


@pytest.mark.parametrize(
    ("heading", "tag", "printed"),
    [
        ("## 0.2.0 (2030-01-31)", "v0.2.0", "- New.\n"),
        ("## 0.2.0", "v0.2.0", "- New.\n"),
        ("## 0.2.0 (unreleased)", "v0.2.0", None),
        ("## 0.2.01 (2030-01-31)", "v0.2.0", None),
        ("## 0.2.0 (2030-01-31)", "v0.2.1", None),
    ],
)
def test_a_release_needs_a_tag_a_version_and_a_section_that_agree(
    tmp_path: Path, heading: str, tag: str, printed: str | None
) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci/release-notes", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n- New.\n\n## 0.1.0\n\n- Old.\n")
    ended = subprocess.run([script, tag], capture_output=True, text=True, check=False)
    if printed is None:
        assert ended.returncode == 1
        assert ended.stderr
    else:
        assert ended.stdout.strip() == printed.strip()

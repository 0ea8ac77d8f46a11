"""Links of the pages lead somewhere, and what pages and workflows say of the project is what it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from .test_layout import ORDER

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_BLOCK = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")


def links_in(page: Path) -> Iterator[str]:
    """The targets of a page's links and pictures that lead to a place in the repository."""
    text = re.sub(r"`[^`]+`", "code", _BLOCK.sub("", page.read_text(encoding="utf-8")))
    text = re.sub(r"<!-- site: .*? -->", "", text, flags=re.DOTALL)  # the site's own, whose build checks them
    return (link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link))


def anchors_of(page: Path) -> set[str]:
    """What links can name in a page: its headings, as GitHub does it, and its own anchors."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = (each.lower() for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    slugs = {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in links_in(page):
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    _, picture, _ = text.split("```", 2)
    drawn = re.findall(rf"^ ({'|'.join(ORDER)}) ─", picture, re.MULTILINE)
    assert tuple(drawn) == ORDER
    assert [name for name in (*ORDER, "sandbox") if f"\n| `{name}` |" not in text] == []


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

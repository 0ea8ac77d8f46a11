"""The site builds strictly, and says what is wrong with a page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from docs._generate.github import four_deep
from docs._generate.hooks import docs_pages, menu
from docs._generate.pages import reference
from docs._generate.repository import for_site, site_uri
from tests.documents.blocks import ROOT
from tests.documents.site import HtmlPage, build_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    built = build_site(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    names = {path.removesuffix(".md") for path in docs_pages()} - {"index"}
    for name in (*names, *(f"reference/{page.name}" for page in reference())):
        assert (site / name / "index.html").is_file(), name


def test_only_pages_and_pictures_are_published(site: Path) -> None:
    kinds = {path.suffix for path in site.rglob("*") if path.is_file()}
    assert kinds <= {".html", ".css", ".js", ".map", ".png", ".svg", ".gz", ".json", ".xml"}


def test_no_markdown_is_left_where_a_page_should_be_rendered(site: Path) -> None:
    """GitHub and the site read Markdown differently: what one takes for a list is text to the other."""
    left = re.compile(r"^\s*(?:[-*] \S|\d+\. \S|\|.*\||```|#+ )|\]\(|\*\*|:::|\\\|", re.MULTILINE)
    for path in site.rglob("index.html"):
        if "CHANGELOG" not in path.parts:
            found = left.search(HtmlPage(path.read_text(encoding="utf-8")).prose)
            assert found is None, f"{path.relative_to(site)}: {found}"


def test_a_dead_link_fails(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    skipped = shutil.ignore_patterns(".*", "site", "tests", "benchmarks", "__pycache__")
    shutil.copytree(ROOT, clone, ignore=skipped)
    page = clone / "docs/sandbox.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n[nowhere](cli.md#no-such-place)\n")
    built = build_site(tmp_path / "site", clone)
    assert built.returncode != 0
    assert "no-such-place" in built.stderr


def test_a_page_that_the_menu_does_not_name_is_among_the_how_tos() -> None:
    made = menu([{"How-to guides": [{"One": "one.md"}]}, {"Reference": "reference/"}], ["new.md", "one.md"])
    assert made[0] == {"How-to guides": [{"One": "one.md"}, "new.md"]}
    assert made[1] == {"Reference": [{page.title: page.uri} for page in reference()]}


def test_links_to_the_repository_become_pages_of_the_site() -> None:
    from pathlib import PurePosixPath as File

    assert site_uri(File("docs/cli.md")) == "cli.md"
    assert site_uri(File("prefect.yaml")) == "project/prefect.yaml.md"
    assert site_uri(File("examples/plugin")) == "project/examples/plugin/README.md"
    text = "[a](../README.md#credentials) [b](cli.md) `[c](../x)` [d](https://e.example) [f](#g)"
    assert for_site(text, File("docs/operations.md")) == text.replace("../README.md", "project/README.md")
    assert for_site("![r](docs/report.png)", File("README.md")) == "![r](../report.png)"


def test_lists_are_indented_as_the_site_wants_them() -> None:
    github = "1. one\n   two\n\n   ```toml\n   a = 1\n   ```\n- three\n  - four\n\nfive\n  six"
    site = "1. one\n    two\n\n    ```toml\n    a = 1\n    ```\n\n- three\n    - four\n\nfive\n  six"
    assert four_deep(github) == site
    assert four_deep("1. one\n\n   two\n2. three\n3. four") == "1. one\n\n    two\n\n2. three\n3. four"


def test_the_two_extras_name_the_same_packages() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = extras["optional-dependencies"]
    assert set(optional["docs"]) < set(optional["dev"])


def test_the_site_is_strict_and_takes_its_fonts_from_nowhere() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["strict"] is True
    assert config["theme"]["font"] is False

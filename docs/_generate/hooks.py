"""What mkdocs calls while it builds the site: adds the reference, and files that pages link to."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from docs._generate.github import four_deep
from docs._generate.layout import link_package
from docs._generate.pages import reference
from docs._generate.repository import DOCS, PROJECT, ROOT, beyond_docs, for_site

REFERENCE = "reference/"
HOW_TO = "How-to guides"
_FOR_SITE = re.compile(r"<!-- site: (.*?) -->", re.DOTALL)
_source = TemporaryDirectory(prefix="prefect-imagine-docs-")


@event_priority(100)
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the menu in, and show mkdocstrings the package as it is installed."""
    if not any(Path(_source.name).iterdir()):
        link_package(Path(_source.name))
    config.plugins["mkdocstrings"].config["handlers"]["python"]["paths"] = [_source.name]
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")  # as GitHub makes anchors
    config.nav = menu(config.nav or [], docs_pages())
    return config


def docs_pages() -> list[str]:
    """The pages that people have written, by name."""
    return sorted(path.name for path in (ROOT / DOCS).glob("*.md"))


def menu(nav: list[Any], pages: list[str]) -> list[Any]:
    """The menu of mkdocs.yml with the reference, and with pages that it does not name among the how-tos."""
    named = set(_pages_in(nav))
    new = [page for page in pages if page not in named]
    return [{title: _filled(title, item, new) for title, item in each.items()} for each in nav]


def _filled(title: str, item: Any, new: list[str]) -> Any:
    if item == REFERENCE:
        return [{page.title: page.uri} for page in reference()]
    return [*item, *new] if title == HOW_TO else item


def _pages_in(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [page for value in values for page in _pages_in(value)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and what pages link to outside of docs/."""
    for page in reference():
        files.append(File.generated(config, page.uri, content=page.markdown))
    named = set(_pages_in(config.nav))
    menu_pages = [PurePosixPath(uri).relative_to(PROJECT) for uri in named if uri.startswith(f"{PROJECT}/")]
    for uri, text in beyond_docs([*(DOCS / page for page in docs_pages()), *menu_pages]).items():
        place = InclusionLevel.UNDEFINED if uri in named else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, uri, content=text, inclusion=place))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site needs them, and what pages hold for the site alone: `<!-- site: … -->`."""
    if page.file.generated_by is not None:
        return markdown
    return _FOR_SITE.sub(r"\1", for_site(four_deep(markdown), DOCS / page.file.src_uri))

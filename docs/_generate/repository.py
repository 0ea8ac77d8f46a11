"""Files of the repository outside of docs/, which pages link to: the site has them as pages of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from docs._generate.github import four_deep

ROOT = Path(__file__).parents[2]
DOCS = PurePosixPath("docs")
PROJECT = PurePosixPath("project")
"""Where the site has them."""
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^()\s#]+)(#[^()\s]*)?(?=\))")
_NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n"
_LANGUAGES = {"": "text", "csv": "text", "yml": "yaml", "toml": "toml", "py": "python"}


def site_uri(path: PurePosixPath) -> str:
    """The page or file of the site that a file of the repository becomes."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    if (ROOT / path).is_dir():
        path = path / "README.md"
    return str(PROJECT / path) if path.suffix == ".md" else f"{PROJECT / path}.md"


def for_site(text: str, page: PurePosixPath) -> str:
    """A page's Markdown with its links to files of the repository as the site needs them.

    Args:
        page: where it is in the repository.
    """
    here = PurePosixPath(site_uri(page)).parent

    def moved(link: re.Match[str]) -> str:
        uri = site_uri(_target(page, link[1]))
        return relpath(uri, here) + (link[2] or "")

    return _outside_code(text, lambda part: _LINK.sub(moved, part))


def beyond_docs(pages: Iterable[PurePosixPath]) -> dict[str, str]:
    """Of these pages, and all that they lead to, those outside of docs/: Markdown by address in the site."""
    found: dict[str, str] = {}
    waiting, seen = list(pages), set[PurePosixPath]()
    while waiting:
        path = waiting.pop()
        path = path / "README.md" if (ROOT / path).is_dir() else path
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(DOCS):
            found[site_uri(path)] = _page_of(path)
        waiting += _targets(path) if path.suffix == ".md" and (ROOT / path).is_file() else ()
    return found


def _page_of(path: PurePosixPath) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".md":
        return for_site(four_deep(text), path)
    suffix = path.suffix.removeprefix(".")
    return f"{_NOT_SEARCHED}# {path}\n\n````{_LANGUAGES.get(suffix, suffix)}\n{text}````\n"


def _targets(page: PurePosixPath) -> list[PurePosixPath]:
    prose = _CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [_target(page, link[1]) for link in _LINK.finditer(prose)]


def _target(page: PurePosixPath, link: str) -> PurePosixPath:
    return PurePosixPath(normpath(page.parent / link))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts, end = list[str](), 0
    for block in _CODE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])

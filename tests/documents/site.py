"""The documentation's site, built as `make docs` builds it, and what its pages hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from tests.documents.blocks import ROOT


def build_site(folder: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Build it into a folder; tells how that went."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


_SILENT = ("code", "h1", "h2", "h3", "h4", "nav", "pre", "script", "style", "title")


@dataclass
class HtmlPage(HTMLParser):
    """A page's links, what links can name in it, and its text outside of headings, menus and code.

    Attributes:
        links: all that it points to or loads.
        anchors: the ids of its elements.
    """

    html: str
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    prose: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._silent: list[str] = []
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element points to, and its id."""
        values = dict(attrs)
        self.links += [value for name in ("href", "src") if (value := values.get(name))]
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag in _SILENT:
            self._silent.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Come back to text."""
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        """Note the text."""
        if not self._silent:
            self.prose += data


@dataclass(frozen=True)
class Crawled:
    """What was found from a site's first page on.

    Attributes:
        pages: by path.
        dead: what leads nowhere: the page, and its link.
        elsewhere: addresses of other sites.
    """

    pages: Mapping[str, HtmlPage]
    dead: list[tuple[str, str]]
    elsewhere: set[str]


def crawl(address: str) -> Crawled:
    """Follow all links of a site from its first page on."""
    pages, dead, elsewhere = dict[str, HtmlPage](), list[tuple[str, str]](), set[str]()
    kinds: dict[str, str | None] = {}
    waiting = [("", "/")]
    with httpx.Client(base_url=address) as http:

        def there(path: str) -> bool:
            if path not in kinds:
                answer = http.get(path, follow_redirects=True)
                kinds[path] = answer.headers.get("Content-Type", "") if answer.is_success else None
                if answer.is_success and kinds[path] == "text/html":
                    pages[path] = HtmlPage(answer.text)
                    waiting.extend((path, link) for link in pages[path].links)
            return kinds[path] is not None

        anchors: list[tuple[str, str, str, str]] = []
        while waiting:
            page, link = waiting.pop()
            target = urlsplit(urljoin(f"{address}{page}", link))
            if f"{target.scheme}://{target.netloc}" != address:
                elsewhere.add(link)
            elif not there(target.path):
                dead.append((page, link))
            elif target.fragment and target.path in pages:
                anchors.append((page, link, target.path, unquote(target.fragment)))
    dead += [(page, link) for page, link, path, anchor in anchors if anchor not in pages[path].anchors]
    return Crawled(pages, dead, elsewhere)

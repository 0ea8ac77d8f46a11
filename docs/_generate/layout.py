"""The package as it is installed, for readers of its source: the repository holds parts of it elsewhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

from docs._generate.repository import ROOT


def link_package(folder: Path) -> None:
    """Put links to all of the package's source below a folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    mapped: dict[str, str] = project["tool"]["setuptools"]["package-dir"]
    whole = folder / "prefect_imagine"
    whole.mkdir()
    for each in (ROOT / "prefect_imagine").iterdir():
        (whole / each.name).symlink_to(each)
    for name, place in mapped.items():
        _, _, part = name.partition(".")
        if part:
            (whole / part).symlink_to(ROOT / place)

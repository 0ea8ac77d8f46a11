"""All modules of the package, imported."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType

import prefect_imagine
from prefect_imagine import blocks, flows, tasks

_OPTIONAL = ("prefect_imagine.testing",)
"""Needs pytest."""


@cache
def all_modules() -> tuple[ModuleType, ...]:
    """Every module but those that the command line's start would run, and those whose extras are missing."""
    names = {each.name for each in walk_packages(prefect_imagine.__path__, "prefect_imagine.")}
    for package in (blocks, flows, tasks):
        names |= {each.name for each in walk_packages(package.__path__, f"{package.__name__}.")}
    wanted = sorted(
        name for name in names if not name.endswith("__main__") and not name.startswith(_OPTIONAL)
    )
    return tuple(module for name in wanted if (module := _imported(name)) is not None)


def _imported(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(prefect_imagine.__name__):
            raise
        return None  # its extra is not installed

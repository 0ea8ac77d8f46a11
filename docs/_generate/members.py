"""Pages of what people import: each name with its signature and docstring, by mkdocstrings."""

from __future__ import annotations

from types import ModuleType
from typing import get_type_hints

from prefect.blocks.abstract import CredentialsBlock

import prefect_imagine
from docs._generate.docstrings import example
from docs._generate.fields import Model, model_section, models_in, with_nested
from docs._generate.markdown import Page, blocks
from prefect_imagine import blocks as credentials
from prefect_imagine import errors, flows, tasks

_OWN_PAGES = ("BatchOptions", "OnRefusal", "Prompt", "PriceList", "Rotation", "Timing", "ImagineError")


def members_of(module: ModuleType) -> str:
    """Everything public of a module, in the order of its `__all__`."""
    return blocks(
        *(f"::: {module.__name__}.{name}" for name in module.__all__ if _is_documented(module, name))
    )


def _is_documented(module: ModuleType, name: str) -> bool:
    return callable(getattr(module, name))


def flow_page() -> Page:
    """The flows."""
    intro = (
        "What people deploy and schedule, imported from `prefect_imagine.flows`. "
        "Their parameters are the run form's."
    )
    return Page("flows", "Flows", blocks(intro, members_of(flows)))


def task_page() -> Page:
    """The tasks."""
    intro = (
        "Single steps for flows of your own, imported from `prefect_imagine.tasks`. They are asynchronous. "
        "Only `generate_batch` remembers what has been paid for."
    )
    return Page("tasks", "Tasks", blocks(intro, members_of(tasks)))


def block_page() -> Page:
    """The blocks, with the fields that the UI shows."""
    intro = (
        "Credentials as Prefect blocks, imported from `prefect_imagine.blocks` and registered by "
        "`prefect block register -m prefect_imagine.blocks`."
    )
    names = (name for name in credentials.__all__ if _is_documented(credentials, name))
    found = [getattr(credentials, name) for name in names]
    return Page("blocks", "Blocks", blocks(intro, *(_block(each) for each in found)))


def _block(block: Model) -> str:
    return blocks(model_section(block), example(block.__doc__))


def error_page() -> Page:
    """The tree of errors, and each of them."""
    tree = (errors.__doc__ or "").split("\n\n", 1)[1].strip()
    named = [each for each in vars(errors).values() if isinstance(each, type)]
    found = sorted((each for each in named if issubclass(each, errors.ImagineError)), key=_line)
    intro = "All that the package raises is an `ImagineError`, imported from `prefect_imagine.errors`."
    members = (
        f"::: {each.__module__}.{each.__name__}\n    options:\n      show_bases: true" for each in found
    )
    return Page("errors", "Errors", blocks(intro, f"```text\n{tree}\n```", *members))


def _line(error: type[Exception]) -> int:
    return list(vars(errors)).index(error.__name__)


def model_page() -> Page:
    """What flows and tasks take and give back, beside options and prompts."""
    intro = (
        "What flows and tasks take and give back. What has no place in `prefect_imagine` itself comes from "
        "`prefect_imagine.providers.models`, or within another."
    )
    public = (getattr(prefect_imagine, name) for name in prefect_imagine.__all__ if name not in _OWN_PAGES)
    returned = (get_type_hints(getattr(tasks, name).fn)["return"] for name in tasks.__all__)
    given = [model for each in (*public, *returned) for model in models_in(each)]
    models = [each for each in with_nested(given) if not issubclass(each, CredentialsBlock)]
    return Page("models", "Data", blocks(intro, *map(model_section, models)))

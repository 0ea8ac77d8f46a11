"""All pages of the reference, in the order of the menu."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from docs._generate.command_line import command_line_page
from docs._generate.environment import environment_page
from docs._generate.events import event_page
from docs._generate.formats import format_page
from docs._generate.markdown import Page
from docs._generate.members import block_page, error_page, flow_page, model_page, task_page
from docs._generate.metrics import metric_page
from docs._generate.options import option_page, prompt_page
from docs._generate.providers import provider_page

PAGES: tuple[Callable[[], Page | None], ...] = (
    command_line_page,
    prompt_page,
    flow_page,
    task_page,
    block_page,
    option_page,
    model_page,
    error_page,
    event_page,
    metric_page,
    format_page,
    provider_page,
    environment_page,
)


@cache
def reference() -> tuple[Page, ...]:
    """The whole reference: the code is imported, so a process makes it once."""
    return tuple(page for make in PAGES if (page := make()) is not None)

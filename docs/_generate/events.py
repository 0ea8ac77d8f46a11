"""The events that automations can act on, from the models that they are sent with."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from docs._generate.docstrings import summary
from docs._generate.fields import field_table
from docs._generate.markdown import Page, blocks
from docs._generate.modules import all_modules
from prefect_imagine.tasks.events import Event


def events() -> list[type[Event]]:
    """All events, in the order in which they are written down."""
    return [
        each
        for module in all_modules()
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Event)
        if each.NAME and each.__module__ == module.__name__
    ]


def event_page(sent: Iterable[type[Event]] | None = None) -> Page:
    """Each event, when it is sent, and what it holds."""
    intro = (
        "Names and payloads are a contract: automations may rely on them. The flow run is a related resource "
        "of all that a run sends. `prefect-imagine setup-automations` makes automations that act on them."
    )
    return Page("events", "Events", blocks(intro, *map(_section, events() if sent is None else sent)))


def _section(event: type[Event]) -> str:
    return blocks(
        f"## {event.NAME}",
        summary(event.__doc__),
        f"Resource: `{event.RESOURCE}`.",
        field_table(event, "payload"),
    )

"""How a batch is run, as flows take it."""

from __future__ import annotations

from docs._generate.fields import model_section, model_table
from docs._generate.markdown import Page, blocks
from prefect_imagine import BatchOptions, OnRefusal, PriceList, Prompt, Rotation, Timing
from prefect_imagine.prompts.formats import COLUMNS, FORMATS


def option_page() -> Page:
    """The parameter `options` of a flow, and what is in it."""
    return Page(
        "options",
        "Options",
        blocks(*map(model_section, (BatchOptions, Timing, OnRefusal, PriceList, Rotation))),
    )


def prompt_page() -> Page:
    """The columns of a prompts file."""
    formats = ", ".join(f"`.{name}`" for name in FORMATS)
    intro = (
        f"A prompts file is {formats} (or `.yml`). These are its columns, and a `Prompt`'s fields in the "
        "parameter `prompts` of `generate_batch`. In a table, labels and settings are columns of their own, "
        "such as `labels.campaign` and `settings.style`. Columns that a prompt's `{name}` uses may have any "
        "name."
    )
    beyond = [name for name in COLUMNS if name not in Prompt.model_fields]
    assert not beyond, beyond
    return Page("prompts", "Prompts files", blocks(intro, model_table(Prompt)))

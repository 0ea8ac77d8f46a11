"""The look of `--help`: plain text in two columns, for terminals and files alike."""

from __future__ import annotations

import textwrap

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions

COLUMN = 24
"""Where descriptions begin."""


class PlainHelp:
    """Writes what cyclopts knows of a command, without colours or frames."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """One list: of commands, of arguments, or of options."""
        if panel.entries:
            rows = (_row(entry, options.max_width) for entry in panel.entries)
            _print(console, "\n".join(["", f"{panel.title}:", *rows]))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        """The line that shows how a command is called."""
        _print(console, f"usage: {str(usage).strip()}")

    def render_description(self, console: Console, options: ConsoleOptions, description: object) -> None:
        """What a command does."""
        _print(console, f"\n{textwrap.fill(_plain(description), options.max_width)}")


def default_text(default: object) -> str | None:
    """An option's default as people would write it; nothing and no go without saying."""
    return None if default in (None, ()) or default is False else str(default)


def _row(entry: HelpEntry, width: int) -> str:
    head = f"  {', '.join(entry.display_labels_with_metavar)}"
    default = "" if entry.default is None else f"(default: {entry.default})"
    text = f"{_plain(entry.description).rstrip('.')} {default}".strip()
    indent = " " * COLUMN
    body = textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return head + body[len(head) :] if len(head) < COLUMN - 1 else f"{head}\n{body}"


def _plain(text: object) -> str:
    return str(getattr(text, "primary_renderable", text)).strip()


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

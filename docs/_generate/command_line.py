"""The command line, from the model that cyclopts has of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from cyclopts import App, Argument

from docs._generate.docstrings import constants, summary
from docs._generate.markdown import Page, blocks, code, sentence, table
from prefect_imagine.cli.arguments import PROGRAM, make_app
from prefect_imagine.cli.help import default_text
from prefect_imagine.reports import summary as codes

_COMMON = ("--help", "-h", "--version")


def command_line_page() -> Page:
    """All commands with their arguments and options, and the exit codes."""
    return page_of(make_app())


def page_of(app: App) -> Page:
    """The page of these commands."""
    commands = list(commands_of(app))
    listed = table(
        ["command", "what it does"],
        ([f"[`{name}`](#{_anchor(name)})", _first(each)] for name, each in commands),
    )
    sections = (_section(name, each) for name, each in commands)
    return Page("command-line", "Command line", blocks(listed, _exit_codes(), *sections))


def commands_of(app: App, prefix: str = "") -> Iterator[tuple[str, App]]:
    """The commands by what is typed, those of groups behind their groups."""
    for name in sorted((each for each in app if each not in _COMMON), key=lambda each: app[each].sort_key):
        command = app[name]
        if command.default_command is None:
            yield from commands_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _doc(command: App) -> str:
    return summary(inspect.getdoc(command.default_command))


def _first(command: App) -> str:
    return sentence(_doc(command).split("\n\n")[0].split(". ")[0])


def _section(name: str, command: App) -> str:
    arguments = [each for each in command.assemble_argument_collection(parse_docstring=True) if each.show]
    places = [each for each in arguments if each.index is not None]
    options = [each for each in arguments if each.index is None]
    usage = f"```text\n{str(command.usage).strip()}\n```"
    return blocks(
        f"## {name}",
        _doc(command),
        usage,
        table(["argument", "meaning"], ([code(each.name), _meaning(each)] for each in places)),
        table(
            ["option", "meaning"],
            ([_spelled(each), f"{_meaning(each)}{_default(each)}"] for each in options),
        ),
        _examples(str(command.help_epilogue)),
    )


def _spelled(option: Argument) -> str:
    value = "" if option.hint is bool else f" {option.parameter.metavar or option.name.strip('-').upper()}"
    return ", ".join(code(f"{name}{value}") for name in option.names)


def _meaning(argument: Argument) -> str:
    """As `--help` has it: a few words, not a sentence."""
    return str(argument.parameter.help or "").strip().rstrip(".")


def _default(option: Argument) -> str:
    if option.required:
        return " (required)"
    default = option.field_info.default
    if option.parameter.show_default is False or default is option.field_info.empty:
        return ""
    text = default_text(default)
    return f" (default: {code(text)})" if text else ""


def _examples(epilogue: str) -> str:
    lines = [line.strip() for line in epilogue.splitlines() if line.strip().startswith(f"{PROGRAM} ")]
    return "```console\n" + "\n".join(f"$ {line}" for line in lines) + "\n```" if lines else ""


def _exit_codes() -> str:
    rows = ([code(value), sentence(says)] for name, value, says in constants(codes) if name.isupper())
    return blocks("## Exit codes", table(["code", "meaning"], rows))

"""The commands, and how a command line becomes a call of one: what their signatures say, read by cyclopts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from prefect_imagine.cli import accounts, automations, batch, collect, demo, generate, limits, status
from prefect_imagine.cli.books import budgets, credits, find, load
from prefect_imagine.cli.examples import EXIT_CODES, examples_of
from prefect_imagine.cli.help import PlainHelp, default_text
from prefect_imagine.cli.metrics import serve as metrics
from prefect_imagine.cli.run import control
from prefect_imagine.cli.webhooks import registrations, serve
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.names import nearest
from prefect_imagine.reports.summary import Summary

PROGRAM = "prefect-imagine"
DESCRIPTION = "Paid, asynchronous media generation in batches: never pays twice, and an exact bill."
HELP = ("--help", "-h")
EXACT = Parameter(
    negative=(), allow_repeating=True, json_dict=False, json_list=False, show_default=default_text
)
"""No `--no-…` and `--empty-…`, and no JSON for lists; of an option given twice the last counts."""
COMMANDS: Mapping[str, Callable[..., Summary | int]] = {
    "generate": generate.generate,
    "resume": generate.resume,
    "status": status.status,
    "report": batch.report,
    "pause": control.pause,
    "set": control.set_,
    "retry": control.retry,
    "cancel": batch.cancel,
    "collect": collect.collect_all,
    "reconcile": batch.reconcile,
    "find": find.find,
    "credits": credits.credits,
    "budget set": budgets.set_,
    "budget list": budgets.list_,
    "budget remove": budgets.remove,
    "load": load.load_history,
    "models": accounts.models,
    "balance": accounts.balance,
    "limits": limits.limits,
    "webhooks serve": serve.serve,
    "webhooks url": serve.url,
    "webhooks register": registrations.register,
    "webhooks list": registrations.list_,
    "webhooks update": registrations.update,
    "webhooks remove": registrations.remove,
    "metrics serve": metrics.serve,
    "metrics write": metrics.write,
    "setup-automations": automations.setup_automations,
    "demo": demo.demo,
    "sandbox": demo.sandbox,
}
"""Functions by what is typed: a command's name, or a group's and that of a command in it."""
GROUPS: Mapping[str, str] = {
    "budget": "Cap what all batches under a root spend, whatever runs at once.",
    "webhooks": "Have providers deliver the ends of generations, and take them in.",
    "metrics": "Have Prometheus watch what all batches cost and come to.",
}
"""What the groups are for."""
_LOOK: Mapping[str, Any] = {
    "help_flags": HELP,
    "help_format": "plaintext",
    "help_formatter": PlainHelp(),
    "group_commands": "commands",
    "group_arguments": "arguments",
    "group_parameters": "options",
}


@dataclass(frozen=True)
class Call:
    """A command by its name, with its arguments; `--help` and `--version` call no command."""

    command: str | None
    run: Callable[[], Summary | int | None]


def parse(arguments: Sequence[str]) -> Call:
    """Read a command line. Raises `ConfigurationError`; nothing has run yet, not even `--help`."""
    app = make_app()
    named = _named(arguments)
    try:
        if named not in COMMANDS and not {*HELP, "--version"} & {*arguments}:
            raise UnknownCommandError(unused_tokens=list(arguments[len(named.split()) :]))
        _check_spelling(app, arguments)
        function, bound, _ = app.parse_args(list(arguments), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        more = " ".join([PROGRAM, *named.split(), "--help"])
        raise ConfigurationError(f"{_worded(error, named)} (see {more})") from error
    command = named if function in COMMANDS.values() else None
    return Call(command, partial(function, *bound.args, **bound.kwargs))


def _named(arguments: Sequence[str]) -> str:
    """The command, or else the group, that a command line begins with; empty where it is neither."""
    begins = (" ".join(arguments[:count]) for count in (2, 1))
    return next((name for name in begins if name in COMMANDS or name in GROUPS), "")


def make_app() -> App:
    """All commands, as cyclopts reads them."""
    app = App(
        name=PROGRAM,
        help=DESCRIPTION,
        help_epilogue=f"{examples_of('')}\n\n{EXIT_CODES}",
        version=_version,
        usage=f"{PROGRAM} COMMAND …",
        **_LOOK,
    )
    for place, (name, function) in enumerate(COMMANDS.items()):
        group, _, word = name.rpartition(" ")
        parent = _group(app, group, place) if group else app
        parent.command(
            function,
            name=word,
            usage=_usage(name, function),
            help_epilogue=examples_of(name),
            version_flags=(),
            sort_key=place,
            default_parameter=EXACT,
        )
    for flag, does in (("--help", "show this help"), ("--version", "print the version")):
        app[flag].group, app[flag].help = "options", f"{does} and exit"
    return app


def _group(app: App, name: str, place: int) -> App:
    """The commands of a group; a new one comes at this place."""
    if name not in app:
        group = App(
            name=name,
            help=GROUPS[name],
            help_epilogue=examples_of(name),
            version_flags=(),
            usage=f"{PROGRAM} {name} COMMAND …",
            sort_key=place,
            **_LOOK,
        )
        group["--help"].group, group["--help"].help = "options", "show this help and exit"
        app.command(group)
    return app[name]


def _following(group: str) -> list[str]:
    """The words that name a command after a group's name, or after nothing."""
    words = (name.split() for name in COMMANDS)
    following = (each[-1 if group else 0] for each in words if group in ("", each[0]))
    return list(dict.fromkeys(following))


def _usage(name: str, function: Callable[..., object]) -> str:
    places = [
        each for each in inspect.signature(function).parameters.values() if each.kind is each.POSITIONAL_ONLY
    ]
    words = [each.name.upper() if each.default is each.empty else f"[{each.name.upper()}]" for each in places]
    return " ".join([PROGRAM, name, *words, "[OPTIONS]"])


def _version() -> str:
    from importlib.metadata import version

    return f"{PROGRAM} {version(PROGRAM)}"


def _check_spelling(app: App, arguments: Sequence[str]) -> None:
    """Refuse what cyclopts would take for an option: `--max_credits`, and `--json=yes` for a flag."""
    _, apps, words = app.parse_commands(arguments)
    options = [word for word in takewhile("--".__ne__, words) if word.startswith("--")]
    if apps[-1].default_command not in COMMANDS.values() or {*HELP} & {*words}:
        return
    known = {name: each for each in apps[-1].assemble_argument_collection() for name in each.names}
    for option in options:
        name, value, _ = option.partition("=")
        if name not in known:
            raise CycloptsError(msg=_no_option(name, known))
        if value and known[name].hint is bool:
            raise CycloptsError(msg=f"{name} takes no value")


def _no_option(name: str, known: Mapping[str, object]) -> str:
    return f"there is no option {name}; {nearest(name, (each for each in known if each.startswith('-')))}"


def _worded(error: CycloptsError, named: str) -> str:
    """What is wrong, in this command line's words."""
    match error:
        case UnknownCommandError(unused_tokens=[str(word), *_]) if not word.startswith("-"):
            return f"there is no command {f'{named} {word}'.strip()!r}; {nearest(word, _following(named))}"
        case UnknownCommandError():
            offered = f", one of {', '.join(_following(named))}" if named else ""
            return f"COMMAND is missing{offered}: it comes before all options"
        case UnknownOptionError(token=token):
            return f"there is no option {token.keyword or token.value}"
        case UnusedCliTokensError(unused_tokens=[str(word), *_]):
            return f"{word!r} is one argument too many"
        case MissingArgumentError(keyword=str(option)):
            return f"{option} needs a value"
        case MissingArgumentError(argument=argument) if argument is not None:
            return f"{argument.name} is missing"
        case CoercionError(token=token, msg=str(message)) if token is not None and token.keyword:
            return f"{token.keyword}: {message}"
        case ValidationError(exception_message=message) if message:
            return message
        case _:
            return str(error)

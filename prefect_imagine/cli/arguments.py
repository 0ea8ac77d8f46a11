"""What can be written on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from prefect_imagine.cli import values
from prefect_imagine.cli.examples import EXIT_CODES, examples_of
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.formats import FORMATS
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.registry import provider_names, providers_with

WATCH_SECONDS = 2.0


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would exit, so that `--json` has the last word on errors too."""

    def __init__(self, **options: Any) -> None:
        # What scripts rely on is written out: an abbreviation changes its meaning with the next option.
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (see {self.prog} --help)")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line. Raises `ConfigurationError`; exits for `--help` and `--version`."""
    return _parser().parse_args(arguments)


def _parser() -> _Parser:
    parser = _Parser(
        prog="prefect-imagine",
        description="Paid, asynchronous media generation in batches:\nnever pays twice, and an exact bill.",
        epilog=f"{examples_of('')}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (description, fill) in _COMMANDS.items():
        fill(_command(commands, name, description))
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, description: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=description,
        description=description[0].upper() + description[1:] + ".",
        epilog=examples_of(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompts", metavar="PROMPTS", help=".csv, .jsonl, .yaml or .txt file, s3:// address, or -"
    )
    kinds = [kind.value for kind in GenerationKind]
    parser.add_argument(
        "--provider",
        choices=provider_names(),
        metavar="P",
        help=f"of rows that name none: {', '.join(provider_names())}",
    )
    parser.add_argument(
        "--kind", choices=kinds, metavar="K", help=f"of rows that name none: {', '.join(kinds)}"
    )
    parser.add_argument("--model", help="of rows that name none")
    parser.add_argument("--format", choices=FORMATS, help="of the prompts, where the name does not tell")
    ids = parser.add_mutually_exclusive_group()
    ids.add_argument(
        "--batch-id", metavar="ID", help="default: file name and a hash, so that running again resumes"
    )
    ids.add_argument("--again", action="store_true", help="make a new batch of the same prompts")
    parser.add_argument("--dry-run", action="store_true", help="print estimate and problems, spend nothing")
    _run_options(parser)


def _resume(parser: argparse.ArgumentParser) -> None:
    _batch(parser, json=False)
    _run_options(parser, output=False)


def _run_options(parser: argparse.ArgumentParser, *, output: bool = True) -> None:
    if output:
        _output(parser)
    _credentials(parser)
    parser.add_argument(
        "--max-credits", type=values.amount, metavar="N", help="stop creating before this is passed"
    )
    parser.add_argument(
        "--price",
        type=values.price,
        action="append",
        default=[],
        metavar="P[:MODEL]=N",
        help="credits a generation",
    )
    parser.add_argument(
        "--rate",
        type=values.rate,
        action="append",
        default=[],
        metavar="P=60/10s",
        help="requests to keep below",
    )
    parser.add_argument("--retry-failed", action="store_true", help="create again what failed; costs again")
    parser.add_argument(
        "--recreate-unknown", action="store_true", help="create again what may have been created already"
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait while another process runs the batch, a day at most"
    )
    parser.add_argument(
        "--allowed-failures", type=values.count, default=0, metavar="N", help="for the flow run's state"
    )
    parser.add_argument(
        "--timing",
        type=values.timing,
        default={},
        metavar="K=S,…",
        help="seconds of the protocol: deadline, create, settle, margin, patience",
    )
    parser.add_argument("--verbose", action="store_true", help="log every decision")
    _json(parser)


def _batch(parser: argparse.ArgumentParser, *, json: bool = True, required: bool = True) -> None:
    without = "" if required else "; without one, all under --output"
    parser.add_argument(
        "batch",
        metavar="BATCH",
        nargs=None if required else "?",
        help=f"an id under --output, or the batch's path or address{without}",
    )
    _output(parser)
    if json:
        _json(parser)


def _status(parser: argparse.ArgumentParser) -> None:
    _batch(parser, required=False)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=values.refresh,
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help=f"follow the batch until it has ended; look every so many seconds (default: {WATCH_SECONDS:g})",
    )


def _report(parser: argparse.ArgumentParser) -> None:
    _batch(parser)
    parser.add_argument("--presign", action="store_true", help="signed links, for a bucket (good for 7 days)")


def _cancel(parser: argparse.ArgumentParser) -> None:
    _batch(parser, required=False)
    parser.add_argument("--all", action="store_true", help="every batch under --output that is being run")
    _credentials(parser)
    parser.add_argument("--in-flight", action="store_true", help="also cancel jobs under way, where possible")


def _reconcile(parser: argparse.ArgumentParser) -> None:
    _batch(parser)
    _credentials(parser)


def _models(parser: argparse.ArgumentParser) -> None:
    _account(parser, providers_with(lambda able: able.models), "list models")


def _balance(parser: argparse.ArgumentParser) -> None:
    _account(parser, providers_with(lambda able: able.balance), "tell a balance")


def _account(parser: argparse.ArgumentParser, providers: tuple[str, ...], what: str) -> None:
    parser.add_argument(
        "provider",
        type=values.provider_of(providers, what),
        metavar="PROVIDER",
        help=f"of those that {what}: {', '.join(providers)}",
    )
    _credentials(parser)
    _json(parser)


def _limits(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(provider_names())
    parser.add_argument(
        "provider", nargs="?", choices=provider_names(), metavar="PROVIDER", help=f"only of this one: {names}"
    )
    parser.add_argument(
        "--set",
        type=values.limit,
        action="append",
        default=[],
        metavar="[P=]60/10s",
        help="make or change the limit that all machines share for this account's key",
    )
    _credentials(parser)
    _json(parser)


def _setup_automations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--failures",
        type=values.positive,
        default=10,
        metavar="N",
        help="failed generations that cancel a batch's run (default: 10)",
    )
    parser.add_argument(
        "--within",
        type=values.minutes,
        default="10",
        metavar="MINUTES",
        help="the time that they are counted in (default: 10)",
    )
    parser.add_argument(
        "--notify", metavar="TYPE/NAME", help="a notification block to tell, such as slack-webhook/alerts"
    )
    parser.add_argument("--remove", action="store_true", help="remove what this command has made")
    _json(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--s3", action="store_true", help="store in a real S3 server, started for the demo")
    # A bill over the batches that cost money must not count play money.
    _output(parser, "./outputs-demo")
    _json(parser)


def _sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=values.port, default=8765, help="default: 8765; 0 takes a free one")


def _output(parser: argparse.ArgumentParser, default: str = "./outputs") -> None:
    parser.add_argument("--output", default=default, metavar="DIR|s3://…", help=f"default: {default}")


def _credentials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--credentials",
        type=values.pair,
        action="append",
        default=[],
        metavar="P=BLOCK",
        help="a credentials block instead of the environment's key",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the last line of stdout is one JSON object")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from importlib.metadata import version

        print(f"prefect-imagine {version('prefect-imagine')}")
        parser.exit()


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "generate": ("create a batch of prompts, store the outputs, print the bill", _generate),
    "resume": ("go on with a batch where it stopped", _resume),
    "status": ("where a batch stands, from its store alone", _status),
    "report": ("write the report page again", _report),
    "cancel": ("stop a batch, wherever it runs; it can be resumed", _cancel),
    "reconcile": ("look again at open and unknown items; creates nothing", _reconcile),
    "models": ("what a provider can generate, and for how many credits", _models),
    "balance": ("credits left on an account", _balance),
    "limits": ("rate limits that all machines share through Prefect", _limits),
    "setup-automations": ("make the Prefect server act on failures and crashes", _setup_automations),
    "demo": ("the main job against the sandbox, with nothing to set up", _demo),
    "sandbox": ("all four APIs emulated on loopback", _sandbox),
}

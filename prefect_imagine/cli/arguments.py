"""What can be written on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import ValidationError

from prefect_imagine.batches.formats import FORMATS
from prefect_imagine.batches.options import Timing
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.credits import credits_or_none
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.rates import Rate
from prefect_imagine.providers.registry import PROVIDERS

_EXAMPLES = """examples:
  prefect-imagine generate prompts.csv --provider aivisualstudio
  prefect-imagine generate prompts.csv --output s3://bucket/prefix --max-credits 500
  prefect-imagine generate prompts.csv --dry-run
  prefect-imagine resume prompts-3f2a91c04d5e
  prefect-imagine balance imaginelab

exit codes: 0 all stored; 1 some failed or unknown; 2 bad input, nothing spent; 3 stopped by budget or
credits; 4 busy or taken over; 5 infrastructure lost; 130/143 interrupted. All from 3 on can be resumed."""


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
        description="Paid, asynchronous media generation in batches: never pays twice, and an exact bill.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _generate(_command(commands, "generate", "create a batch of prompts, store the outputs, print the bill"))
    _resume(_command(commands, "resume", "go on with a batch where it stopped"))
    _batch(_command(commands, "status", "where a batch stands, from its store alone"))
    report = _command(commands, "report", "write the report page again")
    _batch(report)
    report.add_argument("--presign", action="store_true", help="signed links, for a bucket (good for 7 days)")
    cancel = _command(commands, "cancel", "stop a batch, wherever it runs; it can be resumed")
    _batch(cancel)
    _credentials(cancel)
    cancel.add_argument("--in-flight", action="store_true", help="also cancel jobs under way, where possible")
    reconcile = _command(commands, "reconcile", "look again at open and unknown items; creates nothing")
    _batch(reconcile)
    _credentials(reconcile)
    _account(_command(commands, "models", "what a provider can generate, and for how many credits"))
    _account(_command(commands, "balance", "credits left on an account"))
    _demo(_command(commands, "demo", "the main job against the sandbox, with nothing to set up"))
    _sandbox(_command(commands, "sandbox", "all four APIs emulated on loopback"))
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser], name: str, description: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=description,
        description=description[0].upper() + description[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompts", metavar="PROMPTS", help=".csv, .jsonl, .yaml or .txt file, s3:// address, or -"
    )
    parser.add_argument("--provider", choices=PROVIDERS, help="of rows that name none")
    parser.add_argument(
        "--kind", choices=[kind.value for kind in GenerationKind], help="of rows that name none"
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
        "--max-credits", type=_amount, metavar="N", help="stop creating before this is passed"
    )
    parser.add_argument(
        "--price",
        type=_price,
        action="append",
        default=[],
        metavar="P[:MODEL]=N",
        help="credits a generation",
    )
    parser.add_argument(
        "--rate", type=_rate, action="append", default=[], metavar="P=60/10s", help="requests to keep below"
    )
    parser.add_argument("--retry-failed", action="store_true", help="create again what failed; costs again")
    parser.add_argument(
        "--recreate-unknown", action="store_true", help="create again what may have been created already"
    )
    parser.add_argument("--wait", action="store_true", help="wait while another process runs the batch")
    parser.add_argument(
        "--allowed-failures", type=_count, default=0, metavar="N", help="for the flow run's state"
    )
    parser.add_argument(
        "--timing",
        type=_timing,
        default={},
        metavar="K=S,…",
        help="seconds of the protocol: deadline, create, settle, margin, patience",
    )
    parser.add_argument("--verbose", action="store_true", help="log every decision")
    _json(parser)


def _batch(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    parser.add_argument("batch", metavar="BATCH", help="an id under --output, or the batch's path or address")
    _output(parser)
    if json:
        _json(parser)


def _account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", choices=PROVIDERS, metavar="PROVIDER", help=", ".join(PROVIDERS))
    _credentials(parser)
    _json(parser)


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--s3", action="store_true", help="store in a real S3 server, started for the demo")
    _output(parser)
    _json(parser)


def _sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=8765, help="default: 8765; 0 takes a free one")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="./outputs", metavar="DIR|s3://…", help="default: ./outputs")


def _credentials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--credentials",
        type=_pair,
        action="append",
        default=[],
        metavar="P=BLOCK",
        help="a credentials block instead of the environment's key",
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the last line of stdout is one JSON object")


def _checked(check: Callable[[str], object]) -> Callable[[str], object]:
    def convert(text: str) -> object:
        try:
            return check(text)
        except (ConfigurationError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _split_provider(text: str) -> tuple[str, str]:
    provider, _, value = text.partition("=")
    if not value or provider not in PROVIDERS:
        raise ConfigurationError(f"{text!r} must be PROVIDER=VALUE with one of {', '.join(PROVIDERS)}")
    return provider, value


def _read_price(text: str) -> tuple[str, PriceList]:
    name, mark, value = text.rpartition("=")
    provider, _, model = name.partition(":")
    _split_provider(f"{provider}{mark}{value}")
    amount = _read_amount(value)
    return provider, PriceList(models={model: amount}) if model else PriceList(default=amount)


def _read_rate(text: str) -> tuple[str, str]:
    provider, value = _split_provider(text)
    Rate.parse(value)
    return provider, value


def _read_amount(text: str) -> int | float:
    amount = credits_or_none(text)
    if amount is None or amount < 0:
        raise ConfigurationError(f"{text!r} is no number of credits")
    return amount


def _read_count(text: str) -> int:
    if not text.isdigit():
        raise ConfigurationError(f"{text!r} is no count")
    return int(text)


def _read_port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(f"{text!r} is no port")
    return int(text)


def _read_timing(text: str) -> dict[str, float]:
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return Timing.model_validate({name: value for name, _, value in pairs}).model_dump(exclude_unset=True)
    except ValidationError as error:
        names = ", ".join(Timing.model_fields)
        raise ConfigurationError(f"{text!r} must be name=seconds,… with names of {names}") from error


_price = _checked(_read_price)
_rate = _checked(_read_rate)
_pair = _checked(_split_provider)
_amount = _checked(_read_amount)
_count = _checked(_read_count)
_port = _checked(_read_port)
_timing = _checked(_read_timing)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from importlib.metadata import version

        print(f"prefect-imagine {version('prefect-imagine')}")
        parser.exit()

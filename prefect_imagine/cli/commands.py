"""The commands by name, and the one place where their errors become words and exit codes."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from prefect_imagine.cli import accounts, automations, batch, demo, generate, limits, output, status
from prefect_imagine.cli.arguments import parse
from prefect_imagine.errors import BatchBusyError, ConfigurationError, FencedError, ImagineError
from prefect_imagine.reports.summary import BAD_INPUT, BUSY, INFRASTRUCTURE, INTERRUPTED, Summary

logger = logging.getLogger(__name__)

COMMANDS: dict[str, Callable[[argparse.Namespace], Summary | int]] = {
    "generate": generate.generate,
    "resume": generate.resume,
    "status": status.status,
    "report": batch.report,
    "cancel": batch.cancel,
    "reconcile": batch.reconcile,
    "models": accounts.models,
    "balance": accounts.balance,
    "limits": limits.limits,
    "setup-automations": automations.setup_automations,
    "demo": demo.demo,
    "sandbox": demo.sandbox,
}


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    wants_json = "--json" in arguments
    try:
        parsed = parse(arguments)
        verbose = getattr(parsed, "verbose", False)
        logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(message)s")
        result = COMMANDS[parsed.command](parsed)
    except KeyboardInterrupt:
        result = output.nothing_done("interrupted", INTERRUPTED)
        output.complain("interrupted")
    except ImagineError as error:
        output.complain(str(error))
        result = output.nothing_done(str(error), _code_of(error))
    except Exception as error:
        # A mistake of ours; `--verbose` shows where. Scripts get their last line all the same.
        logger.info("unexpected", exc_info=True)
        message = f"unexpected {type(error).__name__}: {error}"
        output.complain(message)
        result = output.nothing_done(message, INFRASTRUCTURE)
    if isinstance(result, int):
        return result
    if wants_json:
        output.print_json(output.contract(result))
    return result.exit_code


def _code_of(error: ImagineError) -> int:
    if isinstance(error, ConfigurationError):
        return BAD_INPUT
    return BUSY if isinstance(error, BatchBusyError | FencedError) else INFRASTRUCTURE

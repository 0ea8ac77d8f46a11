"""Runs a command: the one place where errors become words and exit codes."""

from __future__ import annotations

import logging
import os

from prefect_imagine.cli import output
from prefect_imagine.cli.arguments import parse
from prefect_imagine.errors import (
    BatchBusyError,
    ConfigurationError,
    FencedError,
    ImagineError,
    ProviderUnavailableError,
)
from prefect_imagine.providers.registry import provider_names
from prefect_imagine.reports.summary import BAD_INPUT, BUSY, INFRASTRUCTURE, INTERRUPTED, Summary
from prefect_imagine.tracing import continued

logger = logging.getLogger(__name__)


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    wants_json, verbose = "--json" in arguments, "--verbose" in arguments
    try:
        provider_names()  # warns of plug-ins that cannot be used, which the level below would hide
        call = parse(arguments)
        logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(message)s")
        with continued(os.environ.get("TRACEPARENT")):
            result = call.run()
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
    if not isinstance(result, Summary):
        return result or 0
    if wants_json:
        output.print_json(output.contract(result))
    return result.exit_code


def _code_of(error: ImagineError) -> int:
    if isinstance(error, ConfigurationError) and not isinstance(error, ProviderUnavailableError):
        return BAD_INPUT
    return BUSY if isinstance(error, BatchBusyError | FencedError) else INFRASTRUCTURE

"""How the command line wants Prefect to behave, where its user has not said otherwise."""

from __future__ import annotations

import os


def prepare_prefect(*, verbose: bool = False) -> None:
    """Set defaults for Prefect's settings; to be called before Prefect is imported.

    A first start of a local server migrates its database, which takes longer than Prefect waits.
    """
    defaults = {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "WARNING",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_CLIENT_MAX_RETRIES": "10",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)

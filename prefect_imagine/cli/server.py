"""How the command line wants Prefect to behave, where its user has not said otherwise."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from prefect_imagine.cli import private_server
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.limits.pacing import Priority, SharedLimit
from prefect_imagine.providers.spec import Account


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
    if not verbose:
        # Of a run that is told to stop they tell a crash each; our own lines are the flow run's.
        defaults["PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL"] = "CRITICAL"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _check_home()


def _check_home() -> None:
    """Prefect keeps its database, or at least its profiles, in a folder that it must be able to make."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"Prefect's folder {home} cannot be written ({error.strerror}); set PREFECT_HOME to one that can"
        ) from error


class LateSharedLimit:
    """The limit that a key shares with other machines, looked up when it is first needed: loading Prefect
    takes seconds, which a finished batch does not have to wait for. Without a server nothing is shared."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._found: SharedLimit | None = None
        self._looked = False

    async def acquire(self, priority: Priority) -> None:
        """Wait until one more request is inside the limit."""
        if not self._looked:
            self._looked = True
            self._found = self._look()
        if self._found is not None:
            await self._found.acquire(priority)

    def _look(self) -> SharedLimit | None:
        from prefect.settings import PREFECT_API_URL

        from prefect_imagine.tasks.limits import shared_limit

        url = PREFECT_API_URL.value()
        return shared_limit(self._account) if url and url not in private_server.urls else None

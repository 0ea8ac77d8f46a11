"""One load: from a root and from providers into a dataset of a destination."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.exceptions import DltException, MissingDependencyException
from dlt.extract import DltSource
from pydantic import SecretStr

from prefect_imagine.batches.index import is_indexed, leave_out
from prefect_imagine.batches.plan import shortened
from prefect_imagine.batches.reading import possible_batches
from prefect_imagine.errors import (
    ConfigurationError,
    ImagineError,
    ProviderError,
    StoreError,
    WarehouseError,
)
from prefect_imagine.providers.spec import Account
from prefect_imagine.redaction import redacted
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse import imagine_source, provider_source
from prefect_imagine.warehouse.reconciliation import Difference, find_differences
from prefect_imagine.warehouse.settings import DATASET, PROVIDER_JOBS, PROVIDER_LISTS

PIPELINE = "prefect_imagine"
"""Under this name a dataset keeps what is loaded."""
DUCKDB = "duckdb"
DATABASE = "imagine-warehouse.duckdb"
DUCKDB_LIMITS = {"max_query_length": 128 * 1024, "max_parallel_load_jobs": 1}
"""Bytes of a statement, and how many at once: with dlt's own limits 20,000 items take 2.6 GB of memory."""
QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
"""Of dlt's settings; who has set them otherwise is not overruled."""
LONGEST_MESSAGE = 300
OURS = (PROVIDER_JOBS, PROVIDER_LISTS)
"""Tables that all providers have in common."""


@dataclass(frozen=True)
class Target:
    """Where rows go.

    Attributes:
        destination: a destination of dlt, such as `duckdb`, `postgres` or `filesystem`.
        dataset: the schema, dataset or folder of the tables.
        database: the file of DuckDB, or the address of a file system.
        credentials: a connection string, or what else dlt takes as an object of JSON; without them dlt's own
            configuration says how to get in.
    """

    destination: str = DUCKDB
    dataset: str = DATASET
    database: str | None = None
    credentials: SecretStr | None = None

    def __post_init__(self) -> None:
        if not self.dataset.strip():
            raise ConfigurationError("the dataset needs a name")
        if self.database is not None and self.destination not in (DUCKDB, "filesystem"):
            raise ConfigurationError(
                f"a database is given for duckdb and filesystem alone: where {self.destination} is, dlt's "
                "configuration says"
            )
        if self.destination == DUCKDB and Path(self.file).stem.lower() == self.dataset.lower():
            raise ConfigurationError(
                f"a DuckDB file {Path(self.file).name} with a dataset {self.dataset!r} would be ambiguous in "
                "every query: give the file another name"
            )

    @property
    def file(self) -> str:
        """Where DuckDB keeps its tables."""
        return self.database or DATABASE

    def open(self) -> Destination[Any, Any] | None:
        """The destination for dlt. Raises `ConfigurationError`."""
        given = None if self.credentials is None else self.credentials.get_secret_value()
        secret = json.loads(given) if given and given.startswith("{") else given
        options: dict[str, Any] = {} if secret is None else {"credentials": secret}
        if self.destination == DUCKDB:
            options = {"credentials": secret or self.file, **DUCKDB_LIMITS}
        elif self.database is not None:
            options["bucket_url"] = self.database
        return Destination.from_reference(self.destination, **options)

    @property
    def place(self) -> str:
        """What people call it, without any secret."""
        where = self.file if self.destination == DUCKDB else self.database
        return " ".join(filter(None, (self.destination, where, f"dataset {self.dataset}")))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        return () if self.credentials is None else (self.credentials.get_secret_value(),)


@dataclass(frozen=True)
class Loaded:
    """What a load has brought.

    Attributes:
        rows: how many by table; tables without any are left out.
        differences: between the providers' lists and our attempts, how many of which kind, by provider; empty
            where no provider was loaded, or the destination cannot be asked.
        problems: what could not be loaded, by provider; everything else was.
        left_out: why batches could not be read, by id; they are tried again the next time.
        empty: whether there is no batch under the root.
    """

    rows: Mapping[str, int]
    differences: tuple[Difference, ...] = ()
    problems: Mapping[str, ImagineError] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    empty: bool = False

    @property
    def lacks(self) -> list[str]:
        """What could not be loaded, in words."""
        batches = (f"batch {name} cannot be read: {error}" for name, error in self.left_out.items())
        return [*map(str, self.problems.values()), *batches]


def load(
    root: str | Store,
    target: Target,
    accounts: Mapping[str, Account] | None = None,
    *,
    prompts: bool = True,
    full: bool = False,
) -> Loaded:
    """Load what is new under a root, and the jobs of these accounts. Blocks.

    dlt works in a folder that is removed afterwards: what is loaded is remembered in the dataset alone.

    Args:
        accounts: by provider. One that cannot be read is a problem of its own, and keeps nothing else back.
        prompts: with prompts, and with all else that may quote them.
        full: everything, whatever is loaded already.

    Raises:
        ConfigurationError: the destination, its credentials or the dataset are not what they must be.
        StoreError: the root cannot be read.
        WarehouseError: the destination failed.
    """
    rows: Counter[str] = Counter()
    problems: dict[str, ImagineError] = {}
    left_out: dict[str, str] = {}

    def note(batch_id: str, error: StoreError) -> None:
        leave_out(batch_id, error)
        left_out[batch_id] = str(error)

    sources = {
        provider: _apart(provider_source(provider, account, prompts, full))
        for provider, account in (accounts or {}).items()
    }
    with _pipeline(target) as pipeline:
        # Providers first: a job that is created meanwhile is then one that the root knows.
        for provider, source in sources.items():
            try:
                rows.update(_run(pipeline, target, source))
            except (ProviderError, WarehouseError) as error:
                problems[provider] = error
        rows.update(_run(pipeline, target, imagine_source(root, prompts, full, note)))
        differences = find_differences(pipeline) if sources.keys() - problems.keys() else ()
    return Loaded(+rows, differences, problems, left_out, empty=_is_empty(root))


def _is_empty(root: str | Store) -> bool:
    opened = closing(open_store(root)) if isinstance(root, str) else nullcontext(root)
    with opened as store:
        return not is_indexed(store) and next(possible_batches(store), None) is None


def _apart(source: DltSource) -> DltSource:
    """The source with the provider's name before those of its own tables: others may have the same."""
    for resource in source.selected_resources.values():
        if resource.name not in OURS:
            resource.apply_hints(table_name=f"{source.name}_{resource.name}")
    return source


@contextmanager
def _pipeline(target: Target) -> Iterator[dlt.Pipeline]:
    """A pipeline of dlt in a folder of its own: what another has left, such as half a load, is not seen."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # dlt may have set its logger up before.
    logging.getLogger("dlt").setLevel(os.environ["RUNTIME__LOG_LEVEL"])
    with tempfile.TemporaryDirectory(prefix="prefect-imagine-load-") as folder, _errors(target):
        yield dlt.pipeline(
            PIPELINE, pipelines_dir=folder, destination=target.open(), dataset_name=target.dataset
        )


def _run(pipeline: dlt.Pipeline, target: Target, source: DltSource) -> Mapping[str, int]:
    """Load a source; how many rows of each table."""
    with _errors(target):
        try:
            pipeline.run(source)
        except BaseException:
            # The next source would find half a load; what it did not commit is read again anyway.
            pipeline.abort_packages()
            raise
    trace = pipeline.last_trace
    normalized = trace.last_normalize_info if trace is not None else None
    counts = normalized.row_counts if normalized is not None else {}
    return {table: count for table, count in counts.items() if not table.startswith("_dlt")}


@contextmanager
def _errors(target: Target) -> Iterator[None]:
    """Errors of dlt as ours: our own that it has wrapped, what is configured wrongly, and what failed."""
    try:
        yield
    except ImagineError:
        raise
    except (DltException, OSError) as error:
        causes = list(_causes(error))
        for kind in (ImagineError, KeyboardInterrupt):
            own = next((each for each in causes if isinstance(each, kind)), None)
            if own is not None:
                raise own from error
        for cause in causes:
            if isinstance(cause, _MISTAKES):
                raise ConfigurationError(_message(target, cause)) from error
        raise WarehouseError(_message(target, causes[-1])) from error


_MISTAKES = (ConfigurationException, MissingDependencyException, UnknownDestinationModule)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what caused it, down to the first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _message(target: Target, error: BaseException) -> str:
    """The first line of what an error says: those that follow quote rows."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    return f"{target.place}: {shortened(redacted(said, target.secrets), LONGEST_MESSAGE)}"

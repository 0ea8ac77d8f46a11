"""A root's batches, and the providers' own records, as sources of dlt: for DuckDB, PostgreSQL and whatever
else it loads into.

    import dlt
    from prefect_imagine.warehouse import imagine_source

    dlt.pipeline("imagine", destination="duckdb", dataset_name="art").run(imagine_source("s3://bucket/prefix"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

from prefect_imagine.batches.index import Unreadable, leave_out
from prefect_imagine.errors import ConfigurationError

try:
    import dlt
    import duckdb  # noqa: F401 the default destination, which dlt imports only when it loads
except ImportError as error:
    raise ConfigurationError(
        "loading into a warehouse needs dlt and DuckDB: pip install 'prefect-imagine[warehouse]'"
    ) from error

from dlt.extract import DltResource, DltSource

from prefect_imagine.providers.registry import account_from_environment, spec_of
from prefect_imagine.providers.spec import Account, ProviderSpec
from prefect_imagine.stores import Store, open_store
from prefect_imagine.warehouse import rows
from prefect_imagine.warehouse.changes import Change, ChangedBatch, ChangedShard, changes
from prefect_imagine.warehouse.jobs import ListRead, Page, read_jobs, read_status
from prefect_imagine.warehouse.settings import (
    ATTEMPTS,
    BATCHES,
    COLUMNS,
    GENERATIONS,
    KEYS,
    MERGE,
    NESTED,
    PROVIDER_JOBS,
    PROVIDER_LISTS,
    SOURCE,
    TOGETHER,
    USAGE_LINES,
)

__all__ = ["imagine_source", "provider_source"]

MakeRows = Callable[[Any], Iterable[rows.Row]]


class Begin:
    """Comes first where nothing is loaded yet."""


@dlt.source(name=SOURCE, max_table_nesting=1)
def imagine_source(
    root: str | Store, prompts: bool = True, full: bool = False, unreadable: Unreadable = leave_out
) -> Iterable[DltResource]:
    """The batches under a root: what has changed since the last load into the same dataset.

    Its tables are `batches`, `generations` with their outputs, `usage_lines` and `attempts`. Nothing is
    written to the root.

    Args:
        root: folder or s3://bucket/prefix, or an open store, which stays open.
        prompts: with prompts, and with all else that may quote them: settings that are texts, messages, texts
            that were generated.
        full: everything, whatever is loaded already.
        unreadable: is told of each batch that cannot be read, and is left out.
    """

    @dlt.resource(name="changes", selected=False)
    def changed() -> Iterator[Begin | Change]:
        state = _state("root", full=full)
        if not state.get("batches"):
            yield Begin()
        opened = closing(open_store(root)) if isinstance(root, str) else nullcontext(root)
        with opened as store:
            yield from changes(store, state, unreadable)

    tables: tuple[tuple[str, type[Any], MakeRows], ...] = (
        (BATCHES, ChangedBatch, rows.batch_rows),
        (GENERATIONS, ChangedShard, partial(rows.generation_rows, prompts=prompts)),
        (USAGE_LINES, ChangedBatch, rows.usage_rows),
        (ATTEMPTS, ChangedShard, partial(rows.attempt_rows, prompts=prompts)),
    )
    return (changed, *(_table(name, changed, kind, make) for name, kind, make in tables))


def _table(name: str, data_from: DltResource, kind: type[Any], make: MakeRows) -> DltResource:
    """A table whose rows are made of those of the items that are of one kind."""

    def made(found: object) -> list[Any]:
        if isinstance(found, Begin):  # it exists then, also where there are no rows
            return dlt.mark.materialize_table_schema()
        return list(make(found)) if isinstance(found, kind) else []

    hints: Any = {
        "write_disposition": MERGE,
        "primary_key": KEYS[name],
        "merge_key": TOGETHER.get(name, ()),
        "columns": COLUMNS[name],
    }
    return dlt.transformer(made, data_from=data_from, name=name, nested_hints=NESTED.get(name), **hints)


def provider_source(
    provider: str, account: Account | None = None, prompts: bool = True, full: bool = False
) -> DltSource:
    """A provider's own records of an account's jobs, as its API gives them, under the name that the API has
    for them (`images`, `requests`, `generations`); its `status`, where it tells one; and `provider_jobs`,
    the same jobs in words that all providers have in common.

    Args:
        account: whose jobs; without one that of the environment's key.
        prompts: with all fields of the records. Without prompts only with fields of which it is known that
            they hold no text of anybody's.
        full: all jobs, whatever is loaded already.

    Raises:
        ConfigurationError: there is no such provider, no key, or no list of all jobs.
    """
    spec = spec_of(provider)
    if spec.records is None:
        raise ConfigurationError(f"{provider}: its plug-in names no list of jobs that could be loaded")
    used = account or account_from_environment(provider)
    named = dlt.source(_provider_resources, name=provider.replace("-", "_"), max_table_nesting=1)
    return named(spec, spec.records, used, prompts, full)


def _provider_resources(
    spec: ProviderSpec, name: str, used: Account, prompts: bool, full: bool
) -> Iterable[DltResource]:
    @dlt.resource(name="jobs", selected=False)
    def jobs() -> Iterator[Begin | Page | ListRead]:
        state = _state(used.identity, full=full)
        if not state:
            yield Begin()
        yield from read_jobs(used, state)

    def records(found: object) -> list[rows.Row]:
        shown = found.jobs if isinstance(found, Page) else ()
        return [rows.record_row(job, prompts=prompts) for job in shown]

    def in_common(page: Page) -> Iterator[rows.Row]:
        return (rows.job_row(used.identity, job, page.read_at) for job in page.jobs)

    def how_far(found: ListRead) -> list[rows.Row]:
        return [rows.list_row(spec.name, used.identity, found)]

    merged: Any = {"write_disposition": MERGE, "primary_key": "id", "columns": {"id": {"data_type": "text"}}}
    return (
        jobs,
        dlt.transformer(records, data_from=jobs, name=name, **merged),
        _table(PROVIDER_JOBS, jobs, Page, in_common),
        _table(PROVIDER_LISTS, jobs, ListRead, how_far),
        *_status(spec, used),
    )


def _status(spec: ProviderSpec, account: Account) -> Iterator[DltResource]:
    """Of a provider that says whether it is in service."""
    if spec.capabilities.status:

        @dlt.resource(name="status", write_disposition="replace")
        def status() -> Iterator[rows.Row]:
            yield read_status(account).raw

        yield status


def _state(name: str, *, full: bool) -> dict[str, Any]:
    """What is remembered of what is loaded, for these of the resources."""
    selected = ",".join(sorted(dlt.current.source().selected_resources))
    states = dlt.current.source_state().setdefault(name, {})
    found: dict[str, Any] = states.setdefault(selected, {})
    if full:
        root = found.pop("root", None)  # a dataset stays one root's
        found.clear()
        found |= {} if root is None else {"root": root}
    return found

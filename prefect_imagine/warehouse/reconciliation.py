"""What the providers show, held against what the batches say: a query, and how many differences it finds."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import dlt
from dlt.destinations.job_client_impl import SqlJobClientBase


@dataclass(frozen=True)
class Difference:
    """So many jobs of a provider that differ in the same way."""

    difference: str
    provider: str
    jobs: int


def reconciliation_sql() -> str:
    """The query, for DuckDB and PostgreSQL: a row for each job of which provider and batches say different
    things. Its tables are those of the dataset that is in use (`use`, `set search_path`)."""
    return files(__package__).joinpath("reconciliation.sql").read_text(encoding="utf-8")


def find_differences(pipeline: dlt.Pipeline) -> tuple[Difference, ...]:
    """How many differences of which kind there are. None where the destination cannot be asked in SQL."""
    with pipeline.destination_client() as client:
        if not isinstance(client, SqlJobClientBase):
            return ()
        query = reconciliation_sql()
        counted = (
            f"select difference, provider, count(*) from ({query}) as found "
            "group by difference, provider order by difference, provider"
        )
        found = client.sql_client.execute_sql(counted)
    return tuple(Difference(str(what), str(provider), int(jobs)) for what, provider, jobs in found or ())

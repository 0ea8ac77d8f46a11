"""Loading into a DuckDB file, and asking it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from prefect_imagine.batches.index import batches_since
from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.billing.root import NEVER, books_since
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.providers.registry import account_from_environment
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store
from prefect_imagine.warehouse.load import Loaded, Target, load
from tests.chaos.books import TELLING

AMOUNTS = ("charged", "estimated", "possible")


@dataclass(frozen=True)
class Warehouse:
    """A DuckDB file."""

    file: Path

    @property
    def target(self) -> Target:
        return Target(database=str(self.file))

    def load(self, root: str | Store, *providers: str, **how: bool) -> Loaded:
        """Load a root, and the lists of providers by the environment's keys."""
        accounts = {name: account_from_environment(name) for name in providers}
        return load(root, self.target, accounts, **how)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        with duckdb.connect(str(self.file), read_only=True) as connection:
            connection.execute("use imagine")
            return connection.execute(sql).fetchall()

    def table(self, name: str, columns: str) -> set[tuple[Any, ...]]:
        """Some columns of all rows of a table, which are all different."""
        found = self.query(f"select {columns} from {name}")
        assert len(set(found)) == len(found), name
        return set(found)

    def everything(self) -> dict[str, set[tuple[Any, ...]]]:
        """All rows of our tables, without what dlt adds."""
        tables = {
            "batches": "* exclude (_dlt_id, _dlt_load_id)",
            "generations": "* exclude (_dlt_id, _dlt_load_id)",
            "usage_lines": "* exclude (_dlt_id, _dlt_load_id)",
            "attempts": "* exclude (_dlt_id, _dlt_load_id)",
        }
        outputs = self.query(
            'select g.batch_id, g."index", o._dlt_list_idx, o.key, o.sha256 from generations g '
            "join generations__outputs o on o._dlt_parent_id = g._dlt_id"
        )
        orphans = self.query(
            "select count(*) from generations__outputs "
            "where _dlt_parent_id not in (select _dlt_id from generations)"
        )
        assert orphans == [(0,)]
        return {
            **{name: self.table(name, columns) for name, columns in tables.items()},
            "outputs": set(outputs),
        }

    def amounts(self, table: str = "generations") -> dict[str, Decimal]:
        """Sums of all three kinds of credits."""
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in AMOUNTS)
        [found] = self.query(f"select {sums} from {table}")
        return dict(zip(AMOUNTS, found, strict=True))

    def charged(self) -> dict[str, Decimal]:
        """Credits charged by provider."""
        return dict(self.query("select provider, sum(charged) from generations group by provider"))


def ledger_of(store: Store) -> dict[str, Decimal]:
    """What the credit report's ledger adds up to, over all days."""
    ledger = Ledger(date(1970, 1, 2), UTC)
    for found in books_since(store, NEVER):
        if isinstance(found, Settlement):
            ledger.add_settled(found)
        else:
            ledger.add(found.plan, found.state)
    return {
        name: sum((Decimal(str(getattr(line, name))) for line in ledger.by_model), Decimal(0))
        for name in AMOUNTS
    }


def assert_books_agree(warehouse: Warehouse, store: Store, sandbox: RunningSandbox) -> None:
    """Charges, estimates and possible credits are those of the ledger, and charges those of the providers'
    own books, to the credit; items, bills and attempts tell the same."""
    amounts = warehouse.amounts()
    assert amounts == ledger_of(store)
    assert amounts == warehouse.amounts("batches")
    [(by_provider,)] = warehouse.query("select sum(charged) from usage_lines where grouped_by = 'provider'")
    [(by_attempts,)] = warehouse.query("select coalesce(sum(credits), 0) from attempts")
    assert amounts["charged"] == by_provider == by_attempts
    books = sandbox.report(jobs=False)["charged"]
    charged = warehouse.charged()
    assert {name: charged.get(name, 0) for name in TELLING} == {name: books[name] for name in TELLING}
    loaded = {batch for (batch,) in warehouse.query("select distinct batch_id from generations")}
    assert loaded == set(batches_since(store, NEVER))


@dataclass
class CountingStore:
    """A store that counts what it is asked."""

    store: Store
    requests: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if not callable(found):
            return found

        def counted(*words: Any, **more: Any) -> Any:
            self.requests[name] += 1
            return found(*words, **more)

        return counted

    def taken(self) -> Mapping[str, int]:
        """What was asked since the last time."""
        taken, self.requests = self.requests, Counter()
        return dict(taken)

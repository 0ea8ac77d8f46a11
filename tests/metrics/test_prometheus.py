"""A real Prometheus over a root on which much goes wrong: what it shows is what the books say."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date
from pathlib import Path

import pytest

from prefect_imagine.batches.inbox import ReceiverState, put_receiver
from prefect_imagine.billing.budgets.budget import Budget, set_budget
from prefect_imagine.billing.ledger import Ledger
from prefect_imagine.billing.root import NEVER, books_since
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.clock import utc_now
from prefect_imagine.metrics import CATALOGUE
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.stores import Store, open_store
from prefect_imagine.webhooks.counts import DeliveryCounts, add_delivery_counts
from tests.chaos.books import TELLING
from tests.chaos.command import PROVIDERS, Run
from tests.cli.commands import Shell
from tests.conftest import KINDS
from tests.engine.engine_runs import Row, Runs, numbered
from tests.metrics.expressions import SAMPLES, names, of_dashboard, of_rules, recorded
from tests.metrics.prometheus import WITH_PROMETHEUS, ExporterProcess, Prometheus, prometheus, promtool

pytestmark = [pytest.mark.long, WITH_PROMETHEUS]
EACH = 6
MODEL = ("provider", "kind", "model")


@dataclass
class Site:
    """A root, what runs on it, and who watches."""

    folder: Path
    sandbox: RunningSandbox
    exporter: ExporterProcess
    prometheus: Prometheus
    runs: list[Run] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.exporter.root

    def run(self, name: str, *words: str) -> Run:
        """The engine as a process, on prompts of which some fail."""
        prompts = self.folder / f"{name}.csv"
        with prompts.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("provider", "prompt"))
            rows = [(provider, f"{name} {number}") for number in range(EACH) for provider in PROVIDERS]
            writer.writerows(
                [*rows, ("imaginelab", f"{name} fail-job"), ("aivisualstudio", f"{name} fail-job")]
            )
        environment = {**self.sandbox.environment, "XDG_CACHE_HOME": str(self.folder / "cache")}
        log = self.folder / f"run-{len(self.runs)}"
        arguments = [str(prompts), str(self.root), name, *words]
        self.runs.append(Run(arguments, environment, log, module="tests.chaos.plain"))
        return self.runs[-1]

    @property
    def accepted(self) -> int:
        return sum(self.sandbox.books.accepted.values())

    def look(self) -> None:
        """Wait until what is in the store by now has been scraped."""
        self.prometheus.until(f"imagine_sample_timestamp_seconds > {utc_now().timestamp()}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("watched")
    settings = SandboxSettings(
        latency=dict.fromkeys(KINDS, (0.2, 0.6)),
        rate_limits={"aivisualstudio": RateLimit()},
        image_pixels=32,
        history_lag_seconds=0.2,
    )
    exporter = ExporterProcess(Shell(folder, {"HOME": str(folder)}), folder / "root")
    with running_sandbox(settings) as sandbox:
        sandbox.faults.add(
            FaultRule("cut_after", on="create", rate=0.15),
            FaultRule("rate_limited", on="create", provider="blockadelabs", times=2),
        )
        exporter.start()
        try:
            with prometheus(folder / "prometheus", {"exporter:9787": exporter.address}) as found:
                site = Site(folder, sandbox, exporter, found)
                try:
                    _happen(site)
                    yield site
                finally:
                    for run in site.runs:
                        run.end()
        finally:
            exporter.kill()


def _happen(site: Site) -> None:
    """A batch that is killed and ends, another one that is priced, and a third that is left under way."""
    first = site.run("killed")
    assert first.until(lambda: site.accepted >= EACH)
    first.kill()
    assert site.run("killed").wait() == 1, "some have failed"
    with closing(open_store(str(site.root))) as store:
        runs = Runs(site.sandbox, store)
        budget = Budget(name="team", limits={"imagineapi": 50}, period="month", set_at=utc_now())
        set_budget(store, budget)
        prices = {name: PriceList(default=0.1) for name in ("blockadelabs", "imagineapi")}
        rows = [row for name in prices for row in numbered(name, 3)]
        asyncio.run(_run(runs, rows, "priced", prices=prices))
        site.sandbox.configure(latency=dict.fromkeys(KINDS, (3600.0, 3600.0)))
        asyncio.run(_run(runs, numbered("imaginelab", 4), "under-way", detach=True))
        delivered = DeliveryCounts.of("aivisualstudio", "accepted")
        add_delivery_counts(store, delivered + DeliveryCounts.of_lag("aivisualstudio", 2.0))
        put_receiver(store, ReceiverState(at=utc_now()))


async def _run(runs: Runs, rows: Sequence[Row], batch: str, **options: object) -> None:
    await runs.run(rows, batch=batch, **options)


def ledger_of(store: Store) -> Ledger:
    """What the credit report of all time adds up."""
    ledger = Ledger(date(2000, 1, 1), UTC)
    for books in books_since(store, NEVER):
        if isinstance(books, Settlement):
            ledger.add_settled(books)
        else:
            ledger.add(books.plan, books.state)
    return ledger


def assert_as_in_the_books(site: Site) -> None:
    site.look()
    query = site.prometheus.values
    charged = query("imagine_credits_charged_total", *MODEL)
    estimated = query("imagine_credits_estimated_total", *MODEL)
    under_way = query("imagine_credits_under_way", *MODEL, "amount")
    possible = query("imagine_credits_possible", *MODEL)
    with closing(open_store(str(site.root))) as store:
        lines = {tuple(line.name.split("/", 2)): line for line in ledger_of(store).by_model}
    assert lines.keys() == query("imagine_items", *MODEL).keys()
    for model, line in lines.items():
        assert charged[model] + under_way[*model, "charged"] == line.charged, model
        assert estimated[model] + under_way[*model, "estimated"] == line.estimated, model
        assert possible[model] == line.possible, model
        assert query("imagine_unpriced_jobs", *MODEL)[model] == line.unpriced, model
    books = site.sandbox.report(jobs=False)["charged"]
    told = query("sum by (provider) (imagine_credits_charged_total)", "provider")
    held = query('sum by (provider) (imagine_credits_under_way{amount="charged"})', "provider")
    assert {name: told[name,] + held[name,] for name in TELLING} == {name: books[name] for name in TELLING}


def test_its_figures_are_those_of_the_books_whatever_dies(site: Site) -> None:
    assert_as_in_the_books(site)
    before = site.prometheus.values("imagine_credits_charged_total", *MODEL)
    site.exporter.kill()
    site.exporter.start()
    assert_as_in_the_books(site)
    assert site.prometheus.values("imagine_credits_charged_total", *MODEL) == before
    counters = [name for spec in CATALOGUE if spec.type != "gauge" for name in spec.samples]
    resets = [name for name in counters if site.prometheus.query(f"resets({name}[1h]) > 0")]
    assert resets == [], "a restart is none to Prometheus"
    asked = Counter((job["provider"], job["prompt"]) for job in site.sandbox.report()["jobs"])
    assert {*asked.values()} == {1}, "nothing was paid twice"


def test_what_is_left_of_a_budget_is_told(site: Site) -> None:
    site.look()
    query = site.prometheus.values
    assert query("imagine_budget_spent_credits > 0", "budget", "amount") == {("team", "estimated"): 0.3}
    assert query("imagine_budget_left_credits", "budget", "provider") == {("team", "imagineapi"): 49.7}


def test_what_became_of_the_items_is_told(site: Site) -> None:
    site.look()
    states = site.prometheus.values("sum by (state) (imagine_items)", "state")
    stored = EACH * len(PROVIDERS) + 6
    assert {state: count for (state,), count in states.items() if count} == {
        "stored": stored,
        "failed": 2,
        "under_way": 4,
    }
    outcomes = site.prometheus.values("sum by (outcome) (imagine_generations_total)", "outcome")
    assert outcomes == {("stored",): stored, ("failed",): 2}
    assert site.prometheus.values("sum(imagine_generation_seconds_count)") == {(): stored}
    sent = site.sandbox.report(jobs=False)["requests"]
    told = site.prometheus.values('imagine_requests_total{purpose="create"}', "provider")
    assert {name: told[name,] for name in TELLING}.keys() == {*TELLING}
    assert all(0 < told[name,] <= sent[name]["create"] for name in PROVIDERS), "a kill takes some with it"


def test_every_expression_works_and_names_what_is_scraped(site: Site) -> None:
    site.look()
    known = {*site.prometheus.api("label/__name__/values")}
    assert known >= SAMPLES
    for where, expression in (*of_dashboard(), *of_rules()):
        site.prometheus.query(expression)
        assert names(expression) <= known | recorded(), where
    empty = [where for where, expression in of_dashboard() if not site.prometheus.query(expression)]
    assert {*empty} <= NEEDS_A_HISTORY | MAY_BE_NOTHING


NEEDS_A_HISTORY = {
    "Charged in 24 hours, by provider",
    "Days left",
    "Refused for the rate, in an hour",
    "Stored in an hour",
}
MAY_BE_NOTHING = {"Not final yet", "Oldest", "Balance"}


def test_the_rules_are_evaluated(site: Site) -> None:
    site.look()
    groups = site.prometheus.api("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in found} == {name for name, _ in of_rules()}
    assert {rule["lastError"] for rule in found if "lastError" in rule} == set()
    firing = {rule["name"] for rule in found if rule.get("state") in ("firing", "pending")}
    assert firing <= {"ImagineLimitWasted"}


def test_promtool_likes_what_is_scraped(site: Site) -> None:
    assert promtool("check", "metrics", stdin=site.exporter.scraped()) == ""

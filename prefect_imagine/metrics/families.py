"""A sample as metric families of Prometheus's client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.costs import Place
from prefect_imagine.billing.outcomes import BUCKETS, Outcomes
from prefect_imagine.billing.usage import AMOUNTS
from prefect_imagine.metrics.catalogue import CATALOGUE, MetricSpec
from prefect_imagine.metrics.figures import Figures
from prefect_imagine.metrics.root import Sample
from prefect_imagine.metrics.series import MOST_MODELS, MOST_REASONS, OTHER, Names
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.webhooks.counts import LAG_BUCKETS

PLACES: tuple[Place, ...] = ("planned", "open", "under_way", "stored", "failed", "unknown", "withdrawn")
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(frozen=True)
class Exposition:
    """What Prometheus's client asks for the metrics of a sample."""

    metrics: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self.metrics


class Exposer:
    """Turns samples of one root into metrics, with a bound on how many series these have."""

    def __init__(self) -> None:
        self._models: dict[str, Names] = {}
        self._reasons = Names(MOST_REASONS)

    def expose(self, sample: Sample) -> Exposition:
        """The metrics of a sample."""
        figures = self._bounded(sample.figures)
        self._reasons.meet(reason for each in figures.outcomes for reason in each.failed)
        families = Families()
        self._write_figures(families, figures)
        for outcomes in figures.outcomes:
            self._write_outcomes(families, outcomes)
        _write_waiting(families, sample, figures)
        _write_accounts(families, sample)
        _write_webhooks(families, sample)
        _write_budgets(families, sample)
        families.gauge("imagine_active_batches", sample.active)
        families.gauge("imagine_unreadable_batches", sample.unreadable)
        families.gauge("imagine_sample_timestamp_seconds", sample.at.timestamp())
        families.gauge("imagine_sample_duration_seconds", sample.seconds)
        return Exposition(tuple(families))

    def _bounded(self, figures: Figures) -> Figures:
        by_provider: dict[str, list[str]] = {}
        for name, _ in figures:
            by_provider.setdefault(name.partition("/")[0], []).append(name)
        for provider, names in by_provider.items():
            self._models.setdefault(provider, Names(MOST_MODELS)).meet(names)
        return figures.renamed(self._name_of)

    def _name_of(self, name: str) -> str:
        provider = name.partition("/")[0]
        return name if self._models[provider][name] != OTHER else f"{provider}/{OTHER}/{OTHER}"

    def _write_figures(self, families: Families, figures: Figures) -> None:
        for name, each in figures:
            labels = _labels(name)
            families.count("imagine_credits_charged_total", add_credits([each.charged]), *labels)
            families.count("imagine_credits_estimated_total", add_credits([each.estimated]), *labels)
            for amount, value in (
                ("charged", each.charged_under_way),
                ("estimated", each.estimated_under_way),
            ):
                families.gauge("imagine_credits_under_way", add_credits([value]), *labels, amount)
            families.gauge("imagine_credits_possible", add_credits([each.possible]), *labels)
            families.gauge("imagine_unpriced_jobs", each.unpriced, *labels)
            for place in PLACES:
                families.gauge("imagine_items", each.places[place], *labels, place)

    def _write_outcomes(self, families: Families, outcomes: Outcomes) -> None:
        labels = _labels(outcomes.name)
        families.count("imagine_generations_total", outcomes.stored, *labels, "stored", "")
        by_reason = {"": 0}  # so that the first failure is seen to raise a sum
        for reason, count in outcomes.failed.items():
            known = self._reasons[reason]
            by_reason[known] = by_reason.get(known, 0) + count
        for reason, count in by_reason.items():
            families.count("imagine_generations_total", count, *labels, "failed", reason)
        families.histogram(
            "imagine_generation_seconds", BUCKETS, outcomes.seconds, outcomes.total_seconds, *labels
        )
        if outcomes.last_stored is not None:
            at = outcomes.last_stored.timestamp()
            families.gauge("imagine_last_success_timestamp_seconds", at, *labels)


def _write_waiting(families: Families, sample: Sample, figures: Figures) -> None:
    seen = {_labels(name)[:2] for name, _ in figures} | {key[:2] for key in sample.oldest}
    metrics = {Phase.OPEN: "imagine_oldest_open_seconds", Phase.CREATED: "imagine_oldest_job_seconds"}
    for provider, kind in sorted(seen):
        for phase, metric in metrics.items():
            families.gauge(metric, max(0.0, sample.oldest.get((provider, kind, phase), 0.0)), provider, kind)


def _write_accounts(families: Families, sample: Sample) -> None:
    for identity, record in sorted(sample.accounts.items()):
        labels = (record.provider, identity)
        for purpose, count in sorted(record.requests.items()):
            families.count("imagine_requests_total", count, *labels, purpose)
        families.count("imagine_rate_limited_total", record.rate_limited, *labels)
        if record.limit_per_second is not None:
            families.gauge("imagine_rate_limit_per_second", record.limit_per_second, *labels)
        if record.balance is not None and record.balance_at is not None:
            families.gauge("imagine_balance_credits", record.balance, *labels)
            families.gauge("imagine_balance_timestamp_seconds", record.balance_at.timestamp(), *labels)


def _write_webhooks(families: Families, sample: Sample) -> None:
    for provider, outcomes in sorted(sample.deliveries.outcomes.items()):
        for outcome, count in sorted(outcomes.items()):
            families.count("imagine_webhook_deliveries_total", count, provider, outcome)
    for provider, lag in sorted(sample.deliveries.lags.items()):
        families.histogram(
            "imagine_webhook_lag_seconds", LAG_BUCKETS, lag.seconds, lag.total_seconds, provider
        )
    if sample.receiver_at is not None:
        families.gauge("imagine_webhook_receiver_timestamp_seconds", sample.receiver_at)


def _write_budgets(families: Families, sample: Sample) -> None:
    for each in sample.budgets:
        labels = (each.budget, each.provider)
        families.gauge("imagine_budget_limit_credits", each.limit, *labels)
        for amount in AMOUNTS:
            families.gauge("imagine_budget_spent_credits", getattr(each, amount), *labels, amount)
        families.gauge("imagine_budget_reserved_credits", each.reserved, *labels)
        families.gauge("imagine_budget_left_credits", each.left, *labels)
        if each.until is not None:
            at = each.until.timestamp()
            families.gauge("imagine_budget_period_end_timestamp_seconds", at, *labels)


def _labels(name: str) -> tuple[str, str, str]:
    provider, kind, model = name.split("/", 2)
    return provider, kind, model


class Families:
    """The families of the catalogue, empty at first."""

    def __init__(self) -> None:
        self._families: Mapping[str, Family] = {spec.name: _family(spec) for spec in CATALOGUE}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())

    def count(self, name: str, value: float, *labels: str) -> None:
        """Add a counter."""
        family = self._families[name]
        assert isinstance(family, CounterMetricFamily)
        family.add_metric(labels, value)

    def gauge(self, name: str, value: float, *labels: str) -> None:
        """Add a gauge."""
        family = self._families[name]
        assert isinstance(family, GaugeMetricFamily)
        family.add_metric(labels, value)

    def histogram(
        self, name: str, bounds: Iterable[float], counts: Iterable[int], total: float, *labels: str
    ) -> None:
        """Add a histogram of counts that are each in one bucket, the last ones beyond all bounds."""
        family = self._families[name]
        assert isinstance(family, HistogramMetricFamily)
        so_far, buckets = 0, []
        for bound, count in zip((*map(str, map(float, bounds)), "+Inf"), counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        family.add_metric(labels, buckets, total)


def _family(spec: MetricSpec) -> Family:
    name, unit = spec.name.removesuffix("_total"), "seconds" if spec.name.endswith("_seconds") else ""
    if spec.type == "counter":
        return CounterMetricFamily(name, spec.help, labels=spec.labels)
    if spec.type == "gauge":
        return GaugeMetricFamily(name, spec.help, labels=spec.labels, unit=unit)
    return HistogramMetricFamily(name, spec.help, labels=spec.labels, unit=unit)

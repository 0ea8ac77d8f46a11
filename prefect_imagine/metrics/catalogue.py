"""All metrics: the exporter makes its families from this list, and the documentation its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODEL = ("provider", "kind", "model")
ACCOUNT = ("provider", "account")
BUDGET = ("budget", "provider")


@dataclass(frozen=True)
class MetricSpec:
    """A metric.

    Attributes:
        name: as it is queried; a histogram's without `_bucket`, `_sum` and `_count`.
        type: Prometheus's word for it.
        unit: what its values are.
        labels: the names of its labels.
        help: what it means.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    help: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that queries may use."""
        if self.type == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


CATALOGUE: tuple[MetricSpec, ...] = (
    MetricSpec(
        "imagine_credits_charged_total",
        "counter",
        "credits",
        MODEL,
        "What jobs that have ended cost, as the provider told it.",
    ),
    MetricSpec(
        "imagine_credits_estimated_total",
        "counter",
        "credits",
        MODEL,
        "What jobs that have ended cost by a price list, where the provider tells nothing.",
    ),
    MetricSpec(
        "imagine_credits_under_way",
        "gauge",
        "credits",
        (*MODEL, "amount"),
        "The same of jobs that have not ended, by amount: charged or estimated. A failure may refund it.",
    ),
    MetricSpec(
        "imagine_credits_possible",
        "gauge",
        "credits",
        MODEL,
        "Estimate for creates of which is not known whether they were accepted.",
    ),
    MetricSpec(
        "imagine_unpriced_jobs",
        "gauge",
        "jobs",
        MODEL,
        "Jobs that are in none of these amounts, because nobody tells a price.",
    ),
    MetricSpec(
        "imagine_items",
        "gauge",
        "items",
        (*MODEL, "state"),
        "Items by state: planned, open (sent, not answered), under_way, stored, failed, unknown, withdrawn.",
    ),
    MetricSpec(
        "imagine_generations_total",
        "counter",
        "generations",
        (*MODEL, "outcome", "reason"),
        "Generations that were stored, or that failed for a reason, whether or not they were tried again.",
    ),
    MetricSpec(
        "imagine_generation_seconds",
        "histogram",
        "seconds",
        MODEL,
        "How long the jobs of stored generations took, from their creation to their end.",
    ),
    MetricSpec(
        "imagine_last_success_timestamp_seconds",
        "gauge",
        "seconds since 1970",
        MODEL,
        "When a generation was stored last.",
    ),
    MetricSpec(
        "imagine_oldest_open_seconds",
        "gauge",
        "seconds",
        ("provider", "kind"),
        "Age of the oldest create that has not been answered; 0 where none is open.",
    ),
    MetricSpec(
        "imagine_oldest_job_seconds",
        "gauge",
        "seconds",
        ("provider", "kind"),
        "Age of the oldest job that has not ended; 0 where none is under way.",
    ),
    MetricSpec(
        "imagine_requests_total",
        "counter",
        "requests",
        (*ACCOUNT, "purpose"),
        "Requests to the provider, by purpose: create, poll, fetch, history, other.",
    ),
    MetricSpec(
        "imagine_rate_limited_total",
        "counter",
        "requests",
        ACCOUNT,
        "Those of them that were refused for the rate limit.",
    ),
    MetricSpec(
        "imagine_rate_limit_per_second",
        "gauge",
        "requests a second",
        ACCOUNT,
        "Requests that the key may send, as far as that is known.",
    ),
    MetricSpec(
        "imagine_balance_credits",
        "gauge",
        "credits",
        ACCOUNT,
        "Credits that were left when the provider told last.",
    ),
    MetricSpec(
        "imagine_balance_timestamp_seconds",
        "gauge",
        "seconds since 1970",
        ACCOUNT,
        "When that was.",
    ),
    MetricSpec(
        "imagine_budget_limit_credits",
        "gauge",
        "credits",
        BUDGET,
        "What may be spent in the present period.",
    ),
    MetricSpec(
        "imagine_budget_spent_credits",
        "gauge",
        "credits",
        (*BUDGET, "amount"),
        "What is spent in the present period, by amount: charged, estimated or possible.",
    ),
    MetricSpec(
        "imagine_budget_reserved_credits",
        "gauge",
        "credits",
        BUDGET,
        "What runs have set aside for their next creates.",
    ),
    MetricSpec(
        "imagine_budget_left_credits",
        "gauge",
        "credits",
        BUDGET,
        "What nobody has spent or set aside.",
    ),
    MetricSpec(
        "imagine_budget_period_end_timestamp_seconds",
        "gauge",
        "seconds since 1970",
        BUDGET,
        "When the next period begins; budgets without periods have none.",
    ),
    MetricSpec(
        "imagine_webhook_deliveries_total",
        "counter",
        "deliveries",
        ("provider", "outcome"),
        "Deliveries of webhooks: accepted, repeated, no_end, unknown_job, or why they were refused.",
    ),
    MetricSpec(
        "imagine_webhook_lag_seconds",
        "histogram",
        "seconds",
        ("provider",),
        "From the end of a job, as its record tells it, to the receipt of its delivery.",
    ),
    MetricSpec(
        "imagine_webhook_receiver_timestamp_seconds",
        "gauge",
        "seconds since 1970",
        (),
        "When a receiver of webhooks last said that it lives.",
    ),
    MetricSpec(
        "imagine_active_batches",
        "gauge",
        "batches",
        (),
        "Batches that are not settled.",
    ),
    MetricSpec(
        "imagine_unreadable_batches",
        "gauge",
        "batches",
        (),
        "Batches that cannot be read, or not whole; their figures are what could be read.",
    ),
    MetricSpec(
        "imagine_sample_timestamp_seconds",
        "gauge",
        "seconds since 1970",
        (),
        "When these figures were read from the store.",
    ),
    MetricSpec(
        "imagine_sample_duration_seconds",
        "gauge",
        "seconds",
        (),
        "How long that took.",
    ),
)
"""In the order in which they are written."""

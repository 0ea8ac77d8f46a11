"""What all batches under a root cost and came to, as metrics for Prometheus, read from the store alone."""

from prefect_imagine.metrics.app import metrics_app
from prefect_imagine.metrics.catalogue import CATALOGUE, MetricSpec
from prefect_imagine.metrics.exporter import Exporter

__all__ = ["CATALOGUE", "Exporter", "MetricSpec", "metrics_app"]

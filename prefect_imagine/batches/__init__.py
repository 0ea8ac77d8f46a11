"""Batches as durable data: plan, journal, lease and control. Knows nothing of Prefect."""

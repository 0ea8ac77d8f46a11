"""Batches as durable data, and the engine that runs them. Knows nothing of Prefect."""

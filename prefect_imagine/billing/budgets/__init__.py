"""Budgets: caps over all batches under a root, whatever runs at once and dies."""

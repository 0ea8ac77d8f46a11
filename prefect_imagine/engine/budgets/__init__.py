"""What a run may spend under the budgets of its root."""

"""What a batch costs: usage, the ledger of all batches under a root, and a run's budget."""

"""Handing a batch to a fleet, and closing its books when the last shard has had its run."""

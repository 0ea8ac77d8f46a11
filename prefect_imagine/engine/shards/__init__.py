"""The shards of a batch, as a run opens and leaves them."""

"""A batch whose shards are run by many workers, as it stands in the store."""

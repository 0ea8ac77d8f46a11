"""What batches have left behind, over all of them: where files came from, what was spent, and where it goes."""

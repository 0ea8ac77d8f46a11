"""What batches have left behind, over all of them: where files came from, and what was spent."""

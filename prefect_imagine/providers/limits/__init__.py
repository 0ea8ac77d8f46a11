"""Rate limits: how they are learned and kept."""

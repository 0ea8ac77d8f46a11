"""What a run does with its items, stage by stage."""

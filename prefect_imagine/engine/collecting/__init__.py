"""Taking in what has become of jobs that nobody waits for."""

"""Running a batch from the command line: which one, what will change, and to its end."""

"""What is asked for: prompts files and parameters, read into requested items."""

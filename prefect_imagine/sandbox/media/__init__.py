"""Generated pictures, sounds and videos of the sandbox."""

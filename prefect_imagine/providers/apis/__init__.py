"""The four APIs, one module each."""

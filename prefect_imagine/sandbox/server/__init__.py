"""Serves the sandbox on loopback."""

"""Measures the package against a naive flow and against what the rate limit itself allows.

`python -m benchmarks` runs everything against the sandbox on loopback. Sandbox, Prefect server and each
measured run are processes of their own, so that none shares another's interpreter lock or memory.
"""

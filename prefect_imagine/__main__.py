"""`python -m prefect_imagine`."""

from prefect_imagine.cli import main

main()

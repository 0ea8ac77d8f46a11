"""The public names of the room."""

from __future__ import annotations

import subprocess
import sys

from prefect_imagine import stores


def test_the_names_are_sorted_and_there() -> None:
    assert stores.__all__ == sorted(stores.__all__)
    assert all(hasattr(stores, name) for name in stores.__all__)


def test_a_folder_needs_neither_prefect_nor_boto3() -> None:
    code = (
        "import sys, prefect_imagine.stores as s; s.open_store('x');"
        "sys.exit(bool({'prefect', 'boto3', 'botocore'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

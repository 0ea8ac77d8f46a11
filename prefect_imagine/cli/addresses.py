"""Batches and folders as people name them."""

from __future__ import annotations

from pathlib import Path

from prefect_imagine.batches.plan import check_batch_id
from prefect_imagine.errors import ConfigurationError


def absolute(output: str) -> str:
    """An output address that means the same from any working folder.

    Raises:
        ConfigurationError: it is none; an empty variable of a script must not mean the working folder.
    """
    if not output.strip():
        raise ConfigurationError("--output is empty: give a folder or s3://bucket/prefix")
    if "://" in output:
        return output
    if output.lower().startswith("s3:"):
        raise ConfigurationError(f"an S3 address is s3://bucket/prefix: {output!r}")
    return str(Path(output).expanduser().absolute())


def split_batch(batch: str, output: str) -> tuple[str, str]:
    """The root and id of a batch given as an id under the output, a path, or an address.

    Raises:
        ConfigurationError: it cannot name a batch.
    """
    text = batch.rstrip("/")
    if "://" in text:
        root, _, batch_id = text.rpartition("/")
        if root.endswith(":/") or not batch_id:
            raise ConfigurationError(f"{batch!r} names no batch: write s3://bucket/prefix/BATCH")
        return root, check_batch_id(batch_id)
    root = absolute(output)
    path = Path(text).expanduser().absolute()
    here = "://" not in root and not (Path(root) / text).exists() and (path / "plan.jsonl").is_file()
    if "/" in text or here:
        return str(path.parent), check_batch_id(path.name)
    return root, check_batch_id(text)

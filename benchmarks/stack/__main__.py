"""`python -m benchmarks.stack [--workers N] [--images N] [--limit N] [--keep] [--folder DIR]`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.stack.batch import WINDOW, run_batch, sandbox
from benchmarks.stack.stack import Stack, missing


def main() -> None:
    """Bring the stack up, run a batch through it, and take it down; the exit code is 1 where the batch did
    not complete. The folder stays where something went wrong, or where it was named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stack", description=__doc__)
    parser.add_argument(
        "--workers", type=int, default=4, help="workers of the pool, each for one run at a time"
    )
    parser.add_argument("--images", type=int, default=200, help="rows of the prompts file")
    # Ten times what the provider gives, so that a limit is met, and nobody waits long for it.
    parser.add_argument(
        "--limit", type=int, default=600, help="requests a minute that the provider takes of the key"
    )
    parser.add_argument("--keep", action="store_true", help="leave it up until Ctrl-C")
    parser.add_argument("--folder", type=Path, help="a new folder for logs and data")
    arguments = parser.parse_args()
    if missing():
        sys.exit(missing())
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="imagine-stack-"))
    completed = False
    try:
        completed = _run(folder, arguments)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        if completed and arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs: {folder}", flush=True)
    sys.exit(0 if completed else 1)


def _run(folder: Path, arguments: argparse.Namespace) -> bool:
    """Whether the batch completed."""
    began, workers, images = time.monotonic(), arguments.workers, arguments.images
    print(f"starting, with logs in {folder} …", flush=True)
    with Stack(folder, workers=workers, sandbox=sandbox(arguments.limit)) as stack:
        print(
            f"up after {time.monotonic() - began:.0f} s",
            f"Prefect   {stack.ui_url}",
            f"bucket    {stack.output} at {stack.s3.endpoint}",
            f"sandbox   {stack.providers.url}/_sandbox/books",
            f"workers   {workers} of the pool {stack.pool}",
            f"a batch of {images} pictures …",
            sep="\n",
            flush=True,
        )
        figures = run_batch(stack, images)
        used = figures.limit_used(round(arguments.limit * WINDOW / 60), WINDOW)
        print(*figures.lines(), f"limit used              {used:.2f} at least", sep="\n", flush=True)
        if arguments.keep:
            print("Ctrl-C ends it", flush=True)
            with suppress(KeyboardInterrupt):
                signal.pause()
    return figures.completed


if __name__ == "__main__":
    main()

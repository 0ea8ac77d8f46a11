"""A run of `generate_batch` in a process of its own, which may be killed: its argument is a file with the
parameters."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from prefect_imagine import BatchOptions, Prompt, generate_batch


async def main(parameters: str) -> None:
    """Run it as far as it goes, with these parameters as JSON."""
    given = json.loads(parameters)
    given["prompts"] = [Prompt.model_validate(each) for each in given["prompts"]]
    given["options"] = BatchOptions.model_validate(given["options"])
    await generate_batch(**given, return_state=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_text()))

"""Prompts files as bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping

from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import Defaults, RequestedItem, read_prompts


def read_whole(
    data: bytes, file_format: str, defaults: Defaults, variables: Mapping[str, str]
) -> list[RequestedItem]:
    """What a file asks for. Raises `InvalidPromptsError` with everything that is wrong."""
    problems = Problems()
    asked = list(read_prompts(io.BytesIO(data), file_format, defaults, variables, problems))
    problems.check()
    return asked

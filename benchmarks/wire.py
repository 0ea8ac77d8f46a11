"""How the four APIs are called, as somebody writes it who read their pages: no more than a script needs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen


@dataclass(frozen=True)
class Wire:
    """One provider's calls.

    Attributes:
        create: path of the POST, and `body(prompt)` what it says.
        record: path of one generation's record, with `{id}`.
        many: path and query that tell of the newest hundred at `offset`.
    """

    base: str
    headers: Mapping[str, str]
    create: str
    fields: Mapping[str, Any]
    record: str
    done: str = "completed"
    failed: tuple[str, ...] = ("failed",)

    def body(self, prompt: str) -> dict[str, Any]:
        """What the POST says."""
        return {"prompt": prompt, **self.fields}

    def unwrapped(self, answer: Any) -> dict[str, Any]:
        """The record of an answer."""
        for name in ("data", "response", "request"):
            if isinstance(answer.get(name), dict):
                return dict(answer[name])
        return dict(answer)

    def urls(self, record: Mapping[str, Any]) -> list[str]:
        """Where a finished generation's files are."""
        if record.get("upscaled_urls"):
            return list(record["upscaled_urls"])
        if "outputs" in record:
            return [each if isinstance(each, str) else each["url"] for each in record["outputs"]]
        return [str(record.get("output_url") or record.get("file_url") or record["url"])]


def wire_of(provider: str) -> Wire:
    """The calls of a provider whose key is in the environment."""
    base = os.environ[f"{provider.upper()}_BASE_URL"]
    if provider == "aivisualstudio":
        headers = {"Authorization": f"Bearer {os.environ['AIVISUALSTUDIO_API_KEY']}"}
        return Wire(base, headers, "/generate/image", {}, "/generations/{id}")
    if provider == "imagineapi":
        headers = {"Authorization": f"Bearer {os.environ['IMAGINEAPI_TOKEN']}"}
        return Wire(base, headers, "/items/images", {}, "/items/images/{id}")
    if provider == "blockadelabs":
        headers = {"x-api-key": os.environ["BLOCKADELABS_API_KEY"]}
        fields = {"generator": "stable-skybox"}
        return Wire(
            base,
            headers,
            "/imagine/requests",
            fields,
            "/imagine/requests/{id}",
            "complete",
            ("error", "abort"),
        )
    headers = {"Authorization": f"Bearer {_login(base)}"}
    fields = {"generation_type": "image", "model_name": "seedream-5.0-lite"}
    return Wire(base, headers, "/generations", fields, "/generations/{id}")


def _login(base: str) -> str:
    form = {"username": os.environ["IMAGINELAB_EMAIL"], "password": os.environ["IMAGINELAB_PASSWORD"]}
    with urlopen(Request(f"{base}/auth/login", urlencode(form).encode())) as answer:
        return str(json.load(answer)["access_token"])

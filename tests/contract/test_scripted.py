"""The contract on two APIs that differ from the built-in ones in all that a provider may say of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers import wire
from prefect_imagine.providers.base import BaseClient
from prefect_imagine.providers.credits import credits_or_none
from prefect_imagine.providers.limits.pacing import Permit
from prefect_imagine.providers.listing import by_offset, walk
from prefect_imagine.providers.models import (
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
    Mark,
)
from prefect_imagine.providers.spec import ProviderSpec
from prefect_imagine.providers.transport.answers import CreateAnswer
from prefect_imagine.testing import Asked, Job, ProviderContract, Reply
from prefect_imagine.testing.base import on_loop

STATUSES = {"ok": GenerationStatus.SUCCEEDED, "bad": GenerationStatus.FAILED}
WORDS = {status: word for word, status in STATUSES.items()}
IDS = ("task_id",)


class _Client(BaseClient):
    def problems(self, request: GenerationRequest, models: object) -> list[tuple[str, str]]:
        """Nothing that is known beforehand."""
        return []

    def generation(self, body: Any) -> Generation:
        """A job from its record."""
        record = wire.record_of(self.provider, body, ids=IDS)
        return Generation(
            provider=self.provider,
            id=wire.require_identifier(self.provider, record, IDS),
            status=STATUSES.get(str(record.get("state")), GenerationStatus.RUNNING),
            kind=GenerationKind.IMAGE,
            prompt=wire.text_or_none(record.get("text")),
            correlator=wire.text_or_none(record.get("user_data")),
            outputs=wire.outputs_of(record, GenerationKind.IMAGE, self.base_url),
            error=wire.text_or_none(record.get("why")),
            created_at=wire.moment(record.get("at")),
        )

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """GET /tasks/{id}."""
        return self.generation(await self.api.read("GET", f"/tasks/{generation_id}", purpose=purpose))


class MultipartClient(_Client):
    """Creates by multipart with a header of its own, reports costs in headers, echoes a mark."""

    provider = "multipart"
    capabilities = Capabilities(
        kinds=frozenset({GenerationKind.IMAGE}), credits_on_create=True, mark=Mark.ECHOED
    )

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """POST /tasks."""
        form = {"text": request.prompt, **({"user_data": correlator} if correlator else {})}
        return await self.api.create(
            "/tasks",
            headers={"X-Version": "2"},
            form=form,
            files={"mask": ("mask.png", b"\x89PNG", "image/png")},
            parse=self._created,
            permit=permit,
            deadline=deadline,
        )

    def _created(self, answer: CreateAnswer) -> Generation:
        cost = credits_or_none(answer.headers.get("x-billable-units"))
        return self.generation(answer.body).model_copy(update={"credits": cost})

    async def check_list(self) -> None:
        """GET /tasks?limit=1."""
        await self.api.read("GET", "/tasks", purpose="other", params={"limit": 1})

    async def poll(self, ids: Any) -> dict[str, Generation]:
        """GET /tasks by newest pages."""
        return await self.poll_newest_pages(ids)

    def history_pages(self) -> AsyncIterator[HistoryPage]:
        """The list, counted as polling."""
        return self._pages("poll")

    def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """The list."""
        return self._pages("history")

    def _pages(self, purpose: str) -> AsyncIterator[HistoryPage]:
        async def ask(page: Mapping[str, int]) -> Any:
            return await self.api.read("GET", "/tasks", purpose=purpose, params=page)

        return walk(by_offset(self.provider, ask, ("tasks",), self.generation, self.page_size))


class ChosenClient(_Client):
    """Puts jobs under ids of its own; there is no list."""

    provider = "chosen"
    capabilities = Capabilities(kinds=frozenset({GenerationKind.IMAGE}), mark=Mark.CLIENT_ID)

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """PUT /tasks/{id}."""
        return await self.api.create(
            f"/tasks/{self.chosen_id(correlator or self.new_mark())}",
            method="PUT",
            json={"text": request.prompt},
            parse=lambda answer: self.generation(answer.body),
            permit=permit,
            deadline=deadline,
        )

    async def check(self) -> None:
        """GET /health."""
        await self.api.read("GET", "/health", purpose="other")


class _Scripted(ProviderContract):
    status_name = "state"
    reads = "GET /tasks/{id}"

    def prompt_of(self, asked: Asked) -> str:
        """The field `text`."""
        return str(asked.body["text"])

    def record(self, job: Job) -> Reply:
        """A record in words of its own."""
        body = {
            "task_id": job.id,
            "text": job.prompt,
            "state": WORDS.get(job.status, "busy"),
            "url": job.output if job.status is GenerationStatus.SUCCEEDED else None,
            "why": job.error,
            "at": job.created_at.timestamp(),
            "user_data": job.mark if self.spec.capabilities.mark is Mark.ECHOED else None,
        }
        return Reply(body)


class TestMultipart(_Scripted):
    """An API that takes forms."""

    spec = ProviderSpec(
        name="multipart",
        title="Multipart",
        base_url="",
        client=MultipartClient,
        key_variable="MULTIPART_KEY",
        at_capacity=frozenset({409}),
    )
    creates = "POST /tasks"
    lists = "GET /tasks"

    def mark_of(self, asked: Asked) -> str | None:
        """The field `user_data`."""
        return asked.body.get("user_data")

    def created(self, job: Job) -> Reply:
        """The record, and the cost in a header."""
        return Reply(self.record(job).body, 201, {"X-Billable-Units": "2.5"})

    @on_loop
    async def test_headers_forms_and_costs_come_through(self) -> None:
        async with self.standing() as (server, client):
            made = await client.create(self.request("a lake"))
            [sent] = server.creates
            assert (sent.headers["X-Version"], sent.body["text"], "mask" in sent.body) == (
                "2",
                "a lake",
                True,
            )
            assert sent.headers["Content-Type"].startswith("multipart/form-data")
            assert made.credits == 2.5


class TestChosen(_Scripted):
    """An API whose jobs have the ids that clients choose."""

    spec = ProviderSpec(
        name="chosen",
        title="Chosen",
        base_url="",
        client=ChosenClient,
        key_variable=None,
        at_capacity=frozenset({409}),
    )
    creates = "PUT /tasks/{id}"
    checks = "GET /health"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"at_capacity": frozenset({200})}, "at_capacity"),
        ({"at_capacity": frozenset({503})}, "at_capacity"),
        ({"at_capacity": frozenset({401})}, "at_capacity"),
        (
            {"create_seconds": 120.0},
            "create_seconds is above 0, and at most 50 for a provider with a history",
        ),
        ({"create_seconds": 0.0}, "create_seconds"),
        ({"key_variable": ""}, "key_variable"),
        ({"login_variables": ("EMAIL",)}, "login_variables"),
        ({"codes": {"full": ValueError}}, "codes stand for ProviderErrors"),
    ],
)
def test_a_specification_that_cannot_hold_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"the specification of 'chosen' cannot be used: .*{message}"
    ):
        replace(TestChosen.spec, **wrong)

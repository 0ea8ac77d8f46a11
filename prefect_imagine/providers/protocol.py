"""What every provider's client can do, whatever the API behind it looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from prefect_imagine.clock import Deadline, ProviderClock
from prefect_imagine.providers.limits.pacing import Pacer, Permit
from prefect_imagine.providers.models import (
    Balance,
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    HistoryPage,
    ModelInfo,
    Package,
    ServiceStatus,
)
from prefect_imagine.providers.webhooks import Webhook


class ProviderClient(Protocol):
    """One account of one provider.

    Reads are retried within bounds and paced; creates are sent once. Calls that `capabilities` does not
    name raise `UnsupportedOperationError`; all raise `ProviderError`.

    """

    provider: str
    capabilities: Capabilities
    webhook_url: str | None
    """Where creates ask for the end of their job to be delivered; only of those whose `WebhookScheme` is
    `per_create` it is ever set."""

    @property
    def base_url(self) -> str:
        """The API's address, path included."""

    @property
    def pacer(self) -> Pacer:
        """The key's rate limit."""

    @property
    def clock(self) -> ProviderClock:
        """The provider's own time."""

    @property
    def requests(self) -> Counter[str]:
        """How many requests were sent, by purpose: create, poll, fetch, history, other."""

    def problems(self, request: GenerationRequest, models: Collection[ModelInfo]) -> list[tuple[str, str]]:
        """What the API would refuse, as (column, message), found without asking it."""

    def completed(self, request: GenerationRequest, models: Collection[ModelInfo]) -> GenerationRequest:
        """The request with everything filled in that the provider would otherwise choose unseen."""

    def wire_prompt(self, request: GenerationRequest) -> str:
        """The prompt as the provider gets, and echoes, it."""

    def chosen_id(self, correlator: str) -> str:
        """The id of the job that a create with this mark makes, where the client chooses it."""

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """Start a generation. Sent at most once, and never after `deadline`.

        Args:
            correlator: our mark on the job, for providers that show one; see `Capabilities.mark`.

        Raises:
            ConnectionFailedError: not a byte was sent.
            AmbiguousCreateError: it was sent and its outcome is not known.
            ProviderError: any other kind is a refusal; nothing was accepted.
        """

    def delivered(self, record: Mapping[str, Any]) -> Generation:
        """The generation that the record in a signed delivery of a webhook shows."""

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        """Look at many generations in as few requests as the API allows. Those the API does not know
        are left out."""

    async def fetch(self, generation_id: str) -> Generation:
        """The full record with its outputs, their addresses fresh."""

    async def cancel(self, generation_id: str) -> None:
        """Stop one generation."""

    async def delete(self, generation_id: str) -> None:
        """Delete one generation's record. Reconciling may need it: only on explicit request."""

    def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """The account's generations, newest first, by pages. `prompt` may narrow it where the API can."""

    async def balance(self) -> Balance:
        """Credits left."""

    async def packages(self) -> tuple[Package, ...]:
        """Credits on sale."""

    async def models(self, kind: GenerationKind | None = None) -> tuple[ModelInfo, ...]:
        """What can be asked for."""

    async def status(self) -> ServiceStatus:
        """Whether the provider says it is in service."""

    async def create_webhook(self, url: str, events: Sequence[str] | None = None) -> Webhook:
        """Have events sent to an https address: these, or all. Its secret is in this answer and in no other.

        Sent once. Where the answer is lost, the list tells whether there is a new webhook with this URL: it
        is returned without its secret, and a warning says that it has to be deleted and made again.

        Raises:
            ConfigurationError: no such URL or event; nothing was sent.
            AuthenticationError: the key may not do this; the message says which scope it lacks.
            AmbiguousCreateError: it may have been made, and the list does not tell.
        """

    async def webhooks(self) -> tuple[Webhook, ...]:
        """The account's webhooks, without their secrets."""

    async def update_webhook(
        self,
        webhook_id: str,
        url: str | None = None,
        events: Sequence[str] | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """Change what is given of a webhook. Raises as `create_webhook`, and `NotFoundError`."""

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook. Raises `NotFoundError` where there is none."""

    beside: Mapping[str, Generation]
    """What the last `poll` has come across besides, by id: others that share the key may follow those."""

    lists_refused: bool

    async def check_results(self) -> bool:
        """Whether the list of generations can be read; `lists_refused` says afterwards if the key may not.

        Raises `AuthenticationError` where the key may read neither lists nor single generations.
        """

    async def check(self) -> None:
        """One cheap read that needs the key: raises `AuthenticationError` where it is wrong."""

    def media_headers(self) -> dict[str, str]:
        """Credentials for media on the API's own origin; to be sent nowhere else."""

    async def aclose(self) -> None:
        """Close the connections."""

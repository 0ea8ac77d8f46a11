"""What clients have in common: one `Api`, and a clear no for calls that a provider lacks."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NoReturn

from prefect_imagine.clock import ProviderClock
from prefect_imagine.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    UnexpectedResponseError,
    UnsupportedOperationError,
)
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.listing import PageSize
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
from prefect_imagine.providers.transport.http import Api
from prefect_imagine.providers.webhooks import Webhook

logger = logging.getLogger(__name__)

STRAGGLERS = 2
FORBIDDEN = 403
NO_GENERATION = "0"
"""An id that no generation has."""

ListReader = Callable[[set[str], dict[str, Generation]], Awaitable[None]]
"""Looks for ids in a list, and adds what it shows of them to what was found."""


class BaseClient:
    """A client over one `Api`; subclasses add the calls that their provider has."""

    provider: str
    capabilities: Capabilities
    webhook_url: str | None = None
    """Where creates ask for the end of their job to be delivered."""
    beside: Mapping[str, Generation] = MappingProxyType({})
    """What the last `poll` has come across besides, by id."""
    lists_refused = False
    """Whether the key may not list generations, as far as `check_results` has found out."""
    _lists: bool | None = None
    """Whether the list can be used for polling, once that is known."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.page_size = PageSize()

    @property
    def base_url(self) -> str:
        """The API's address, path included."""
        return self.api.base_url

    @property
    def pacer(self) -> Pacer:
        """The key's rate limit."""
        return self.api.pacer

    @property
    def clock(self) -> ProviderClock:
        """The provider's own time."""
        return self.api.clock

    @property
    def requests(self) -> Counter[str]:
        """Requests sent so far, by purpose."""
        return self.api.requests

    def default_model(self, kind: GenerationKind, models: Collection[ModelInfo]) -> str | None:
        """The model that is taken where a request names none: the first listed of its kind."""
        return next((model.id for model in models if model.kind in (kind, None)), None)

    def completed(self, request: GenerationRequest, models: Collection[ModelInfo]) -> GenerationRequest:
        """The request with everything filled in that the provider would otherwise choose unseen."""
        model = request.model or self.default_model(request.kind, models)
        return request.model_copy(update={"model": model})

    def wire_prompt(self, request: GenerationRequest) -> str:
        """The prompt as the provider gets, and echoes, it."""
        return request.prompt

    def chosen_id(self, correlator: str) -> str:
        """The mark as it stands, of signs that paths and names may hold."""
        return correlator.replace(":", "-")

    def new_mark(self) -> str:
        """A mark for a create that belongs to no batch."""
        return uuid.uuid4().hex

    def delivered(self, record: Mapping[str, Any]) -> Generation:
        """Nothing is believed of deliveries that nobody signs."""
        self._unsupported("read deliveries")

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        """Look at each by its id."""
        return await self.poll_one_by_one(ids)

    def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """Not offered."""
        self._unsupported("list generations")

    async def cancel(self, generation_id: str) -> None:
        """Not offered."""
        self._unsupported("cancel a generation")

    async def delete(self, generation_id: str) -> None:
        """Not offered."""
        self._unsupported("delete a generation")

    async def balance(self) -> Balance:
        """Not offered."""
        self._unsupported("report a balance")

    async def packages(self) -> tuple[Package, ...]:
        """Not offered."""
        self._unsupported("list credit packages")

    async def models(self, kind: GenerationKind | None = None) -> tuple[ModelInfo, ...]:
        """Not offered."""
        self._unsupported("list models")

    async def status(self) -> ServiceStatus:
        """Not offered."""
        self._unsupported("report its service status")

    async def create_webhook(self, url: str, events: Sequence[str] | None = None) -> Webhook:
        """Not offered."""
        self._unsupported("register a webhook")

    async def webhooks(self) -> tuple[Webhook, ...]:
        """Not offered."""
        self._unsupported("list webhooks")

    async def update_webhook(
        self,
        webhook_id: str,
        url: str | None = None,
        events: Sequence[str] | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """Not offered."""
        self._unsupported("change a webhook")

    async def delete_webhook(self, webhook_id: str) -> None:
        """Not offered."""
        self._unsupported("delete a webhook")

    def media_headers(self) -> dict[str, str]:
        """Media need no credentials."""
        return {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self.api.aclose()

    async def check(self) -> None:
        """One row of the list, which needs the key, unless that was found to read single ones alone."""
        if not self.lists_refused:
            await self.check_list()

    async def check_list(self) -> None:
        """One row of the list of generations."""
        self._unsupported("list generations")

    async def check_results(self) -> bool:
        """Whether the list of generations can be read; sets `lists_refused` where the key may not.

        Raises:
            AuthenticationError: the key is refused, or may read neither lists nor single generations: what it
                creates could not be fetched.
        """
        try:
            await self.check_list()
        except AuthenticationError as error:
            if error.status_code != FORBIDDEN:
                raise
            await self._check_single(error)
            self.lists_refused = True
            self._lists = False
            logger.warning(
                "%s: this key may not list generations: they are looked at one by one, and a create whose "
                "answer is lost stays unknown (%s)",
                self.provider,
                error,
            )
            return False
        except (NotFoundError, InvalidRequestError, UnexpectedResponseError, UnsupportedOperationError):
            return False  # a list of no use says nothing of the key
        return True

    async def _check_single(self, refusal: AuthenticationError) -> None:
        try:
            await self.record(NO_GENERATION, "other")
        except (NotFoundError, InvalidRequestError, UnexpectedResponseError):
            return
        except AuthenticationError as error:
            raise AuthenticationError(
                f"{error}: this key may not read generations, so nothing that it creates could be fetched",
                provider=self.provider,
                status_code=error.status_code,
                code=error.code,
            ) from refusal

    def _unsupported(self, what: str) -> NoReturn:
        raise UnsupportedOperationError(f"{self.provider} cannot {what}", provider=self.provider)

    async def fetch(self, generation_id: str) -> Generation:
        """One full record."""
        return await self.record(generation_id, "fetch")

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """One full record, its request counted by its purpose."""
        self._unsupported("look at a generation")

    def history_pages(self) -> AsyncIterator[HistoryPage]:
        """The newest pages, for following many generations at once."""
        self._unsupported("list generations")

    async def poll_one_by_one(self, ids: Iterable[str]) -> dict[str, Generation]:
        """Look at each by its id; those that are not known are left out."""
        # All end before one error is raised: none may go on behind the caller's back.
        found = await asyncio.gather(*(self._look(each) for each in ids), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return {each.id: each for each in found if isinstance(each, Generation)}

    async def poll_newest_pages(self, ids: Collection[str]) -> dict[str, Generation]:
        """Look at many by the newest pages of the list, and by id at those the pages do not show.

        Pages are read while more is looked for than it would take requests by id, in the light of how many
        pages in a row have shown none of it.
        """
        return await self.poll_by_list(ids, self._read_newest_pages, few=STRAGGLERS)

    async def poll_by_list(
        self, ids: Collection[str], read: ListReader, *, few: int
    ) -> dict[str, Generation]:
        """Look at more than a few by a list, and by id at those it does not show: all where it is of no use.

        Args:
            read: adds what the list shows of the ids to what was found.
        """
        found: dict[str, Generation] = {}
        self.beside = {}
        refusal: ProviderError | None = None
        if self._lists is not False and len(ids) > few:
            try:
                await read(set(ids), found)
                self._lists = True
            except (NotFoundError, InvalidRequestError, UnexpectedResponseError) as error:
                refusal = error
            except AuthenticationError as error:
                if error.status_code != FORBIDDEN:
                    raise
                refusal = error
        found |= await self.poll_one_by_one(set(ids) - found.keys())
        if refusal is not None:
            self._listless(refusal, found)
        return found

    def _listless(self, refusal: ProviderError, found: Collection[str]) -> None:
        """Remember a list that is of no use. One that was of use may be so again."""
        if refusal.status_code == FORBIDDEN and not found:
            raise refusal  # neither list nor records: paid jobs must not be taken for vanished
        if self._lists is None:
            logger.info("%s: generations are looked at one by one: %s", self.provider, refusal)
            self._lists = False

    async def _read_newest_pages(self, wanted: set[str], found: dict[str, Generation]) -> None:
        in_vain = 0
        self.beside = beside = dict[str, Generation]()
        async for page in self.history_pages():
            seen = {row.id: row for row in page.generations if row.id in wanted}
            beside.update((row.id, row) for row in page.generations if row.id not in seen)
            found.update(seen)
            wanted -= seen.keys()
            in_vain = 0 if seen else in_vain + 1
            if len(wanted) <= max(STRAGGLERS, in_vain) or page.end:
                break

    async def _look(self, generation_id: str) -> Generation | None:
        try:
            return await self.record(generation_id, "poll")
        except NotFoundError:
            return None
        except InvalidRequestError as error:
            if error.status_code in (410, 422):  # gone, or an id that cannot be one
                return None
            raise

"""What a generation costs where the provider does not say it when asked."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Estimate, Frozen, GenerationRequest


class PriceList(Frozen):
    """Credits per generation of one provider: by model, else by kind, else for all of them."""

    default: Credits | None = Field(
        default=None, description="Credits of a generation that nothing else prices."
    )
    kinds: dict[str, Credits] = Field(default_factory=dict, description="Credits by kind of generation.")
    models: dict[str, Credits] = Field(default_factory=dict, description="Credits by model.")

    def price(self, request: GenerationRequest) -> int | float | None:
        """Credits of one generation, or `None` where the list is silent."""
        for found in (self.models.get(request.model or ""), self.kinds.get(request.kind), self.default):
            if found is not None:
                return found
        return None

    def over(self, other: PriceList) -> PriceList:
        """This list, falling back to another."""
        return PriceList(
            default=self.default if self.default is not None else other.default,
            kinds={**other.kinds, **self.kinds},
            models={**other.models, **self.models},
        )


def estimate(request: GenerationRequest, prices: PriceList, catalog: Mapping[str, Credits]) -> Estimate:
    """What one generation is expected to cost.

    A price list of the user's own beats the provider's catalog (credits by model id).
    """
    own = prices.price(request)
    if own is not None:
        return Estimate(credits=own, source="price list")
    listed = catalog.get(request.model or "")
    if listed is not None:
        return Estimate(credits=listed, source="catalog")
    return Estimate(credits=None, source="unpriced")

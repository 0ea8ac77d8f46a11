"""What a generation costs where the provider does not say it when asked, and what a credit costs in money."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import (
    CreditPrice,
    Currency,
    Estimate,
    Frozen,
    GenerationRequest,
    PerCredit,
)


class PriceList(Frozen):
    """Credits per generation of one provider: by model, else by kind, else for all of them; and what a credit
    costs."""

    default: Credits | None = Field(
        default=None, description="Credits of a generation that nothing else prices."
    )
    kinds: dict[str, Credits] = Field(default_factory=dict, description="Credits by kind of generation.")
    models: dict[str, Credits] = Field(default_factory=dict, description="Credits by model.")
    currency: Currency | None = Field(
        default=None, description="The currency in which credits are paid for, such as EUR."
    )
    per_credit: PerCredit | None = Field(
        default=None, description="What one credit costs in that currency, such as 0.01."
    )
    as_of: date | None = Field(
        default=None, description="The day on which a credit cost that, such as 2026-11-01."
    )

    @model_validator(mode="after")
    def _both_or_neither(self) -> PriceList:
        if (self.currency is None) is not (self.per_credit is None):
            raise ValueError("currency and per_credit belong together: give both, or neither")
        if self.as_of is not None and self.per_credit is None:
            raise ValueError("as_of says when per_credit held: give it with currency and per_credit")
        return self

    def price(self, request: GenerationRequest) -> int | float | None:
        """Credits of one generation, or `None` where the list is silent."""
        for found in (self.models.get(request.model or ""), self.kinds.get(request.kind), self.default):
            if found is not None:
                return found
        return None

    def credit_price(self, source: Literal["list", "provider", "given"] = "list") -> CreditPrice | None:
        """What a credit costs, said by this source; `None` where the list is silent."""
        if self.currency is None or self.per_credit is None:
            return None
        return CreditPrice(
            currency=self.currency, per_credit=self.per_credit, as_of=self.as_of, source=source
        )

    def over(self, other: PriceList) -> PriceList:
        """This list, falling back to another."""
        money = self if self.per_credit is not None else other
        return PriceList(
            default=self.default if self.default is not None else other.default,
            kinds={**other.kinds, **self.kinds},
            models={**other.models, **self.models},
            currency=money.currency,
            per_credit=money.per_credit,
            as_of=money.as_of,
        )


def estimate(
    request: GenerationRequest,
    prices: PriceList,
    catalog: Mapping[str, Credits],
    indicative: PriceList | None = None,
) -> Estimate:
    """What one generation is expected to cost.

    A price list of the user's own beats the provider's catalog (credits by model id), and that beats what its
    pages say.
    """
    pages = indicative or PriceList()
    money = prices.credit_price() or pages.credit_price("provider")
    own, listed = prices.price(request), catalog.get(request.model or "")
    if own is None and listed is not None:
        return Estimate(credits=listed, source="catalog", credit_price=money)
    credits = own if own is not None else pages.price(request)
    source = "unpriced" if credits is None else "price list"
    return Estimate(credits=credits, source=source, credit_price=money)

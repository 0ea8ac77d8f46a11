"""Accounts: from the environment, and under a name that gives nothing away."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.registry import BASE_URLS, Account, account_from_environment, open_client
from prefect_imagine.providers.transport.http import check_base_url

VARIABLES = {
    "imaginelab": {"IMAGINELAB_TOKEN": " k "},
    "blockadelabs": {"BLOCKADELABS_API_KEY": "k"},
    "imagineapi": {"IMAGINEAPI_TOKEN": "k"},
    "aivisualstudio": {"AIVISUALSTUDIO_API_KEY": "k"},
}


def test_a_key_from_the_environment(provider: str) -> None:
    account = account_from_environment(provider, VARIABLES[provider])
    assert account.key is not None
    assert account.key.get_secret_value() == "k"
    assert account.address == BASE_URLS[provider]


def test_an_address_from_the_environment(provider: str) -> None:
    where = {f"{provider.upper()}_BASE_URL": "http://localhost:1/x"}
    assert account_from_environment(provider, VARIABLES[provider] | where).address == "http://localhost:1/x"


def test_a_missing_key_says_what_to_set(provider: str) -> None:
    [name] = VARIABLES[provider]
    with pytest.raises(ConfigurationError, match=name):
        account_from_environment(provider, {name: " "})


def test_an_email_needs_its_password() -> None:
    with pytest.raises(ConfigurationError, match="IMAGINELAB_PASSWORD"):
        account_from_environment("imaginelab", {"IMAGINELAB_EMAIL": "a@b.c"})
    with pytest.raises(ConfigurationError, match="IMAGINELAB_PASSWORD"):
        open_client(Account("imaginelab", email="a@b.c"))


def test_a_printed_account_gives_nothing_away() -> None:
    account = Account("imaginelab", key=SecretStr("very-secret"), password=SecretStr("very-secret"))
    assert "very-secret" not in f"{account} {account!r} {account.identity}"


def test_the_identity_is_the_key_s_at_its_address() -> None:
    one, same, other = (Account("imagineapi", key=SecretStr(key)) for key in ("a", "a", "b"))
    elsewhere = Account("imagineapi", key=SecretStr("a"), base_url="http://localhost:1")
    assert one.identity == same.identity
    assert len({one.identity, other.identity, elsewhere.identity}) == 3


@pytest.mark.parametrize(
    "address", ["http://localhost:80/api/", " https://a.example/v1 ", "http://[::1]:8080"]
)
def test_addresses(address: str) -> None:
    assert not check_base_url("x", address).endswith("/")


@pytest.mark.parametrize(
    "address",
    ["", "localhost:80", "ftp://a.example", "http://", "http://a?x=1", "http://me:pw@a", "http://a:b"],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigurationError, match="base URL"):
        check_base_url("x", address)

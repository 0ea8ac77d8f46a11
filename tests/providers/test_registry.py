"""Accounts: from the environment, and under a name that gives nothing away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.registry import account_from_environment, open_client, register, spec_of
from prefect_imagine.providers.spec import Account
from prefect_imagine.providers.transport.http import check_base_url
from tests.providers.clients import PROVIDERS

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
    assert account.address == spec_of(provider).base_url


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
        open_client(Account(spec_of("imaginelab"), email="a@b.c"))


def test_a_printed_account_gives_nothing_away() -> None:
    account = Account(spec_of("imaginelab"), key=SecretStr("very-secret"), password=SecretStr("very-secret"))
    assert "very-secret" not in f"{account} {account!r} {account.identity}"


def test_the_identity_is_the_key_s_at_its_address() -> None:
    one, same, other = (Account(spec_of("imagineapi"), key=SecretStr(key)) for key in ("a", "a", "b"))
    elsewhere = Account(spec_of("imagineapi"), key=SecretStr("a"), base_url="http://localhost:1")
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


FIFTH = """
from prefect_imagine.providers.apis.aivisualstudio import AIVisualStudioClient
from prefect_imagine.providers.spec import ProviderSpec

SPEC = ProviderSpec(
    name="fifth", title="The Fifth", base_url="", client=AIVisualStudioClient, key_variable=None
)
"""
ENTRY_POINTS = """
[prefect_imagine.providers]
fifth = fifth:SPEC
broken = broken:SPEC
wrong = fifth:__doc__
taken = prefect_imagine.providers.apis.imaginelab:SPEC
ending = ending:SPEC
"""


@pytest.fixture
def plugged_in(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs code where a plug-in is installed beside others that are of no use."""
    installed = tmp_path / "plug_ins-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-ins\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "fifth.py").write_text(FIFTH)
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "ending.py").write_text("raise SystemExit('no device here')\n")

    def run(code: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_plug_ins_are_found_and_broken_ones_harm_nobody(
    plugged_in: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = plugged_in(
        "from prefect_imagine.providers.registry import provider_names; print(*provider_names())"
    )
    assert ended.stdout.split() == [*PROVIDERS, "fifth"]
    warned = ended.stderr.splitlines()
    assert len(warned) == 3
    assert "plug-in 'broken' (broken:SPEC) cannot be used: ModuleNotFoundError" in warned[0]
    assert "plug-in 'wrong' (fifth:__doc__) cannot be used" in warned[1]
    assert "plug-in 'ending' (ending:SPEC) cannot be used: SystemExit: no device here" in warned[2]


def test_a_plug_in_is_a_choice_like_any_other(
    plugged_in: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = plugged_in(
        "from prefect_imagine.flows.parameters import ProviderName; from pydantic import TypeAdapter\n"
        "print(TypeAdapter(ProviderName).json_schema()['enum'])\n"
        "print(TypeAdapter(ProviderName).validate_python('fifth'))\n"
        "from prefect_imagine.providers.registry import account_from_environment\n"
        "print(account_from_environment('fifth', {'FIFTH_BASE_URL': 'http://localhost:1'}).address)"
    )
    listed, name, address = ended.stdout.splitlines()
    assert listed == str([*PROVIDERS, "fifth"])
    assert (name, address) == ("fifth", "http://localhost:1")


def test_a_server_of_one_s_own_needs_its_address(
    plugged_in: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    ended = plugged_in(
        "from prefect_imagine.providers.registry import account_from_environment\n"
        "account_from_environment('fifth', {})"
    )
    assert "fifth: no address; set FIFTH_BASE_URL" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["", "Fifth", "a b", "-", "5th", "x" * 41])
def test_a_name_that_cannot_be_one(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a provider's name"):
        register(replace(spec_of("imagineapi"), name=name))


def test_a_name_that_another_has() -> None:
    with pytest.raises(ConfigurationError, match="there is a provider 'imagineapi' already"):
        register(replace(spec_of("imagineapi"), title="Another"))
    register(spec_of("imagineapi"))  # once more is no mistake
    assert spec_of("imagineapi").title == "ImagineAPI"


def test_an_unknown_name_says_which_may_be_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"no provider 'imaginlab'; did you mean imaginelab"):
        spec_of("imaginlab")

"""What is asked: the settings that all providers share may be given as arguments of their own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from prefect_imagine import GenerationRequest

COMMON = {"seed": 7, "negative_prompt": "text", "aspect_ratio": "16:9", "duration": 2.5}


def test_common_settings_may_be_given_like_a_prompt_s() -> None:
    short = GenerationRequest(
        provider="imaginelab",
        prompt="a fox",
        seed=7,
        negative_prompt="text",
        aspect_ratio="16:9",
        duration=2.5,
        settings={"quality": "high"},
    )
    settings = {"quality": "high", **COMMON}
    long = GenerationRequest(provider="imaginelab", prompt="a fox", settings=settings)
    assert short == long
    assert short.fingerprint == long.fingerprint
    assert GenerationRequest.model_validate_json(short.model_dump_json()) == long


def test_what_is_not_given_is_no_setting() -> None:
    plain = GenerationRequest(provider="imaginelab", prompt="a fox")
    assert GenerationRequest(provider="imaginelab", prompt="a fox", seed=None, duration=None) == plain
    assert plain.settings == {}


def test_a_fingerprint_is_the_same_for_ever() -> None:
    """Batches are named after it: with another one, the same file would be paid for again."""
    request = GenerationRequest(provider="imaginelab", prompt="a fox", seed=7, labels={"team": "a"})
    assert request.fingerprint == "26ee1d7b9710212755cdcb60a921f83196d3238e32dbc6efd0b5439a4307d93b"


def test_a_setting_that_is_given_twice_is_refused() -> None:
    given = GenerationRequest(provider="imaginelab", prompt="a fox", seed=7, settings={"seed": 7})
    assert given.settings == {"seed": 7}
    with pytest.raises(ValidationError, match="seed is 7, and 8 in settings: give it once"):
        GenerationRequest(provider="imaginelab", prompt="a fox", seed=7, settings={"seed": 8})


def test_other_names_are_still_refused() -> None:
    with pytest.raises(ValidationError, match="sed"):
        GenerationRequest.model_validate({"provider": "imaginelab", "prompt": "a fox", "sed": 7, "seed": 7})


def test_the_settings_that_were_handed_in_are_left_alone() -> None:
    settings = {"quality": "high"}
    GenerationRequest(provider="imaginelab", prompt="a fox", seed=7, settings=settings)
    assert settings == {"quality": "high"}

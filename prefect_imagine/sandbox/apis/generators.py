"""Blockade Labs' generators: their parameters as `GET /generators` tells them, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GENERATORS: tuple[dict[str, Any], ...] = (
    {
        "id": 13,
        "generator": "stable-skybox",
        "name": "Stable Diffusion Skybox",
        "label": "Stable Diffusion Skybox",
        "params": {
            "prompt": {
                "name": "Text Prompt",
                "type": "textarea",
                "required": True,
                "max_value": 600,
                "display_wide": True,
                "display_label": "Describe the image you wish to create and list any stylistic influences",
                "display_element": "textarea",
                "parsePrompt": True,
                "imagine_text": True,
            },
            "negative_text": {
                "name": "Negative Text Prompt",
                "type": "textarea",
                "max_value": 400,
                "default_value": "",
                "display_help": "<p>e.g. 'watermark', 'extra arms' or 'stinky cats'</p>",
                "display_wide": True,
                "display_label": "Describe things to avoid when imagining.",
                "display_element": "textarea",
            },
            "seed": {
                "name": "Generation Seed",
                "type": "int",
                "max_value": 2147483647,
                "min_value": -1,
                "default_value": 0,
                "display_label": "Image Generation Seed",
                "display_element": "input",
                "parse_random": True,
                "random_max_value": 2147483647,
                "random_min_value": 1,
            },
            "animation_mode": {
                "name": "Animation Mode",
                "type": "select",
                "options": [{"label": "Skybox", "value": "skybox"}],
                "required": False,
                "default_value": "skybox",
                "display_label": "Generation Mode",
                "display_element": "select",
            },
        },
        "sort_order": 1,
    },
    {
        "id": 14,
        "generator": "stable",
        "name": "Stable Diffusion",
        "label": "Stable Diffusion",
        "params": {
            "prompt": {
                "name": "Text Prompt",
                "type": "textarea",
                "required": True,
                "max_value": 600,
                "display_element": "textarea",
            },
            "seed": {
                "name": "Generation Seed",
                "type": "int",
                "max_value": 2147483647,
                "min_value": -1,
                "default_value": 0,
                "display_element": "input",
            },
            "style": {
                "name": "Style",
                "type": "select",
                "options": [
                    {"label": "Photo", "value": "photo"},
                    {"label": "Painting", "value": "painting"},
                ],
                "required": True,
                "display_element": "select",
            },
        },
        "sort_order": 2,
    },
)


def find_generator(name: Any) -> dict[str, Any] | None:
    return next((one for one in GENERATORS if one["generator"] == name), None)


def generator_data(generator: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters used: the given ones checked, the others at their defaults; `ValueError` if wrong.

    What the generator does not know is left out, as are parameters that came as null.
    """
    data: dict[str, Any] = {}
    for name, rules in generator["params"].items():
        value = given.get(name)
        if value is None or value == "":
            if rules.get("required"):
                raise ValueError(f"Parameter {name} is required")
            value = rules.get("default_value")
        if value is not None:
            data[name] = _checked(name, rules, value)
    return data


def _checked(name: str, rules: Mapping[str, Any], value: Any) -> Any:
    if rules["type"] == "int":
        return _whole(name, rules, value)
    if not isinstance(value, str):
        raise ValueError(f"Parameter {name} must be a string")
    if rules["type"] == "select":
        choices = [option["value"] for option in rules["options"]]
        if value not in choices:
            raise ValueError(f"Parameter {name} must be one of: {', '.join(choices)}")
    elif len(value) > rules["max_value"]:
        raise ValueError(f"Parameter {name} must not be longer than {rules['max_value']} characters")
    return value


def _whole(name: str, rules: Mapping[str, Any], value: Any) -> int:
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None:
        raise ValueError(f"Parameter {name} must be an integer")
    if not rules["min_value"] <= number <= rules["max_value"]:
        raise ValueError(f"Parameter {name} must be between {rules['min_value']} and {rules['max_value']}")
    return number

"""Cog as a provider of prefect-imagine: https://cog.run/http."""

from imagine_cog.client import SPEC, CogClient

__all__ = ["SPEC", "CogClient"]

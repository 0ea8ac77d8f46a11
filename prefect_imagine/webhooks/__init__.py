"""Where providers deliver the ends of jobs: an ASGI application that verifies, writes down and wakes."""

from prefect_imagine.webhooks.app import webhook_app
from prefect_imagine.webhooks.receiver import Ended, Receiver

__all__ = ["Ended", "Receiver", "webhook_app"]

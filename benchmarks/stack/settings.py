"""What servers, workers and clients find in their environment, each its own."""

from __future__ import annotations

import os
from pathlib import Path

_OTHERS = ("PREFECT_", "AWS_", "S3_", "OTEL_", "IMAGINE", "BLOCKADELABS_", "AIVISUALSTUDIO_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def base(home: Path) -> dict[str, str]:
    """A person's environment without what would lead Prefect, AWS's clients and providers elsewhere, and with
    what they keep in `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OTHERS) and name.lower() not in _PROXIES
    }
    return {
        **kept,
        "PREFECT_HOME": str(home / "prefect"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(_made(home / "tmp")),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PYTHONUNBUFFERED": "1",
    }


def of_server(home: Path, database: str, redis: str) -> dict[str, str]:
    """The Prefect server's: each of its processes has to find the same database and the same Redis.

    Args:
        database: SQLAlchemy's address of the database.
        redis: the address of Redis, without a database's number.
    """
    return {
        **base(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        # Each web process would, and all but one fail. A block is registered when somebody saves one.
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_REDIS_MESSAGING_URL": f"{redis}/0",
        # prefect-redis 0.3.0 loses what comes while it publishes a batch: each event is published by itself.
        "PREFECT_REDIS_MESSAGING_PUBLISHER_BATCH_SIZE": "1",
        "PREFECT_REDIS_MESSAGING_PUBLISHER_PUBLISH_EVERY": "86400",
        "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": f"{redis}/0",
        # Each process would have a queue of its own in its memory otherwise, and nothing would say so.
        "PREFECT_SERVER_DOCKET_URL": f"{redis}/1",
    }


def of_client(home: Path, api_url: str) -> dict[str, str]:
    """What workers, their runs, and whoever starts runs have in common."""
    return {
        **base(home),
        "PREFECT_API_URL": api_url,
        # As the image has it: threads that store outputs keep less memory to themselves.
        "MALLOC_ARENA_MAX": "2",
        # So that a lost worker is noticed, and a run picked up, in a time that one can wait for.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""Whose a job is whose create was not answered: `.imagine/claims/<provider>/<hash of its id>`, which whoever
takes it puts there, if absent, before its journal says so.

Two processes with identical prompts see the same jobs in the history, and neither can see what the other is
about to write. A job that its claim names belongs to that shard, or to nobody until it is gone on with.
"""

from __future__ import annotations

import hashlib

from prefect_imagine.stores import Store

CLAIMS = ".imagine/claims/"


def claim_job(store: Store, provider: str, job: str, path: str) -> bool:
    """Claim a job for a shard, and say whether it is the shard's. Raises `StoreError`.

    Args:
        path: the shard's folder below the root.
    """
    key = f"{CLAIMS}{provider}/{hashlib.sha256(job.encode()).hexdigest()[:32]}"
    return store.put_new(key, path.encode()) or store.read(key) == path.encode()

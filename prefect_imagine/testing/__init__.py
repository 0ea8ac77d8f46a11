"""The suite that a provider's author runs. It needs pytest.

class TestMine(ProviderContract):
    spec = SPEC
    creates = "POST /jobs"
    reads = "GET /jobs/{id}"

    def record(self, job: Job) -> Reply:
        return Reply({"id": job.id, "status": STATUSES[job.status], "prompt": job.prompt})
"""

from __future__ import annotations

from prefect_imagine.testing.base import KEY, Contract
from prefect_imagine.testing.batches import BatchContract
from prefect_imagine.testing.creates import CreateContract
from prefect_imagine.testing.histories import HistoryContract
from prefect_imagine.testing.reads import ReadContract
from prefect_imagine.testing.stand_in import PICTURE, Asked, Job, Reply, StandIn, standing_in

__all__ = [
    "KEY",
    "PICTURE",
    "Asked",
    "Contract",
    "Job",
    "ProviderContract",
    "Reply",
    "StandIn",
    "standing_in",
]


class ProviderContract(CreateContract, ReadContract, HistoryContract, BatchContract):
    """Everything that the package expects of a provider; what it has not is skipped, by its capabilities.

    A subclass describes the API: see `Contract`.
    """

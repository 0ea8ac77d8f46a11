"""The pipeline that dltHub's page on ImagineAPI prints runs against the sandbox, unchanged but for address
and token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_resources
from dlt.sources.rest_api.typing import RESTAPIConfig

from prefect_imagine.sandbox import RunningSandbox
from tests.engine.engine_runs import Runs, numbered
from tests.warehouse.loading import Warehouse

BASE_URL = "https://cl.imagineapi.dev"


def imagine_api_source(api_key: str, base_url: str = BASE_URL) -> Any:
    """The page's own source (section "Pipeline example")."""

    @dlt.source
    def imagine_api_source(api_key: str = dlt.secrets.value) -> Iterator[Any]:
        config: RESTAPIConfig = {
            "client": {
                "base_url": base_url,
                "auth": {
                    "type": "bearer",
                    "token": api_key,
                },
            },
            "resources": [
                {"name": "images", "endpoint": {"path": "items/images", "data_selector": "data"}},
                {"name": "status", "endpoint": {"path": "items/status", "data_selector": "data"}},
            ],
        }
        yield from rest_api_resources(config)

    return imagine_api_source(api_key)


def get_data(source: Any, folder: Path) -> dlt.Pipeline:
    """The page's own pipeline."""
    pipeline = dlt.pipeline(
        pipeline_name="imagine_api_pipeline",
        destination=dlt.destinations.duckdb(str(folder / "imagine_api.duckdb")),
        dataset_name="imagine_api_data",
        pipelines_dir=str(folder),
    )
    pipeline.run(source)
    return pipeline


async def test_the_page_s_pipeline_loads_images_and_status(
    runs: Runs, keys: RunningSandbox, tmp_path: Path, warehouse: Warehouse
) -> None:
    await runs.run(numbered("imagineapi", 5))
    environment = keys.environment
    source = imagine_api_source(environment["IMAGINEAPI_TOKEN"], environment["IMAGINEAPI_BASE_URL"])
    pipeline = await asyncio.to_thread(get_data, source, tmp_path)
    with pipeline.sql_client() as client:
        images = client.execute_sql("SELECT id, prompt, status FROM images LIMIT 10")
        status = client.execute_sql("SELECT status FROM status")
    assert status == [("ok",)]
    made = {(job["id"], job["prompt"], "completed") for job in keys.report()["jobs"]}
    assert set(images or ()) == made
    # Our own source has the same rows under the same names.
    await asyncio.to_thread(warehouse.load, runs.store, "imagineapi")
    assert warehouse.table("imagineapi_images", "id, prompt, status") == made

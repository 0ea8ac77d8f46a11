"""Everything together: started in the order in which one needs the other, and ended the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.stack import databases, outside, server, workers
from benchmarks.stack.api import Api
from benchmarks.stack.command import run
from benchmarks.stack.databases import missing
from benchmarks.stack.outside import Providers
from benchmarks.stack.service import Service, free_port
from benchmarks.stack.settings import of_client, of_server
from benchmarks.stack.signals import ended_by_signals, undisturbed
from prefect_imagine.sandbox.server.s3 import S3Server

__all__ = ["Stack", "missing"]


class Stack:
    """A Prefect server on PostgreSQL and Redis, a bucket, the sandbox and workers, until a `with` block ends.

    Each service has a log in `folder`; nothing is left but these and the other files there. `missing` says
    why there can be no stack here. Ctrl-C and SIGTERM end the block, and with it everything.

    Attributes:
        folder: where everything is.
        output: the root that is deployed: `--output` of commands, in the bucket.
        api: the Prefect API.
        providers: the sandbox.
        s3: the bucket's server.
        environment: what leads a client everywhere: to the Prefect API, the bucket and the providers.
        redis: Redis, to be restarted; it comes back empty.
        server: the web processes of the Prefect server, to be restarted.
        workers: the workers by number, from 1, to be killed and started.
    """

    output = f"s3://{outside.BUCKET}/art"
    api: Api
    providers: Providers
    s3: S3Server
    environment: dict[str, str]
    redis: Service
    server: Service

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        pool: str = workers.POOL,
        sandbox: Mapping[str, Any] | None = None,
    ) -> None:
        """`sandbox` are settings of `SandboxSettings`, by name."""
        self.folder, self.pool, self.database = folder.resolve(), pool, ""
        self.workers: dict[int, Service] = {}
        self._count, self._sandbox = workers, dict(sandbox or {})
        self._services: list[Service] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            StackError: something did not start; what had, is ended.
        """
        try:
            self._open.enter_context(ended_by_signals())
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def ui_url(self) -> str:
        """Where a person looks at it."""
        return self.api.url.removesuffix("/api")

    def run(self, *command: str) -> None:
        """Run a command to its end with a client's environment; its output goes to `commands.log`.

        Raises:
            StackError: it failed.
        """
        run(command, self.environment, self.folder, self._log("commands"))

    def add_worker(self, pool: str | None = None) -> int:
        """Start one more worker, of this pool or another; gives its number."""
        number = len(self.workers) + 1
        self._begin_worker(number, pool or self.pool).wait()
        return number

    def kill_worker(self, number: int) -> None:
        """`kill -9` a worker and all that it runs."""
        self.workers[number].kill()

    def start_worker(self, number: int) -> None:
        """Start a worker again that was killed, and wait until it can take runs."""
        self.workers[number].start()
        self.workers[number].wait()

    def memory(self) -> dict[int, dict[int, int]]:
        """Resident bytes of each process of each worker: of the worker itself, and of its runs."""
        return {number: each.memory() for number, each in self.workers.items()}

    def processes(self) -> dict[str, list[int]]:
        """What lives of each service."""
        return {each.name: each.processes() for each in self._services}

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self._open.enter_context(databases.postgres_folder(self.folder / "postgres"))
        postgres, database = databases.postgres(data / "data", self._log("postgres"))
        (self.folder / "redis").mkdir()
        self.redis, redis = databases.redis(self.folder / "redis", self._log("redis"))
        bucket = outside.s3(self.folder / "s3", self._log("s3"))
        sandbox = outside.sandbox(self.folder / "sandbox", self._log("sandbox"), self._sandbox)
        self._begin(postgres, self.redis, bucket, sandbox)
        self.s3, self.providers = outside.s3_server(bucket), Providers(sandbox)
        self.database = database.replace("+asyncpg", "")
        self._start_prefect(database, redis)
        self.environment = self._of_client("client")
        log = self._log("commands")
        workers.deploy(self.environment, self.folder / "deployed", log, self.pool, self.output)
        begun = [self._begin_worker(number, self.pool) for number in range(1, self._count + 1)]
        for each in [*begun, self._begin_control()]:
            each.wait()

    def _start_prefect(self, database: str, redis: str) -> None:
        home, port = self.folder / "server", free_port()
        (home / "ui").mkdir(parents=True)
        self.api = Api(f"http://127.0.0.1:{port}/api")
        environment = of_server(home, database, redis)
        server.migrate(environment, self._log("commands"))
        self.server = server.web(environment, home, self._log("server"), port)
        self._begin(self.server, server.services(environment, home, self._log("services")))

    def _begin_worker(self, number: int, pool: str) -> Service:
        self.workers[number] = worker = self._begun(f"worker-{number}", pool)
        return worker

    def _begin_control(self) -> Service:
        """The worker of what stops, mends and collects, which is no part of `workers`."""
        return self._begun("control", workers.CONTROL)

    def _begun(self, name: str, pool: str) -> Service:
        worker = workers.worker(name, pool, self._of_client(name), self.folder / name, self._log(name))
        self._services.append(worker)
        worker.start()
        return worker

    def _begin(self, *services: Service) -> None:
        """Start some side by side."""
        for each in services:
            self._services.append(each)
            each.start()
        for each in services:
            each.wait()

    def _of_client(self, name: str) -> dict[str, str]:
        client = of_client(self.folder / name, self.api.url)
        return client | self.s3.environment | self.providers.environment

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _end(self) -> None:
        with undisturbed():
            # Workers first, all at once: they tell the server that they go, and it writes that down.
            ended: Sequence[Service] = list(self.workers.values())
            for each in ended:
                each.tell_to_end()
            for each in [*ended, *reversed([other for other in self._services if other not in ended])]:
                each.end()
            self._open.close()

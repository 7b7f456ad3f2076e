"""Full mode with real processes: a private PostgreSQL and Redis, the API, and workers that come and go."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self
from uuid import UUID

import httpx2
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from app.jobs import lifecycle
from app.jobs.lifecycle import ENDED
from app.storage import migrate
from app.storage.db import Database
from app.storage.models import Job, WorkerBeat
from tests.chaos.processes import Process, planted
from tests.processes.service import SHORT_LEASES, environment, wait_for
from tests.servers import HOST, PostgresServer, RedisServer

API, MAINTENANCE, FILES, TRAIN = "api", "maintenance", "files", "train"
SEARCH = ("search-1", "search-2", "search-3")
USUAL = (API, MAINTENANCE, *SEARCH)
LEAST = (API, *SEARCH[:2])
"""What rows need in which no worker dies. (Every process sweeps.)"""

READY_SECONDS = 60.0
BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that the kernel gives to no outgoing connection, so that the API finds its own free after a kill."""


class FullMode:
    """The service in full mode; leaving its block ends all of it."""

    def __init__(self, folder: Path, plant: str | None) -> None:
        self.folder = folder
        self.postgres = PostgresServer()
        self.redis = RedisServer()
        self.processes: dict[str, Process] = {}
        self._plant = plant

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.postgres)
            stack.enter_context(self.redis)
            stack.callback(self.kill_processes)
            self._url = self.postgres.create_database("chaos")
            self.database = Database(self._url)
            stack.callback(self.database.dispose)
            migrate.upgrade(self.database.engine)
            self._port = _free_port()
            self.address = f"http://{HOST}:{self._port}"
            self.replant(self._plant)
            self._ended = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def replant(self, plant: str | None) -> None:
        """Kill every process of the service; those started from now on have this bug."""
        self.kill_processes()
        settings = SHORT_LEASES | {
            "NNMASS_DATABASE_URL": self._url,
            "NNMASS_BROKER_URL": self.redis.url,
            "NNMASS_DATA_DIR": str(self.folder),
            "NNMASS_DATA_ROOT": str(self.folder / "datasets"),
        }
        commands = {
            API: ["serve", "--port", str(self._port)],
            MAINTENANCE: ["worker", "maintenance"],
            FILES: ["worker", "files"],
            TRAIN: ["worker", "train"],
        } | {name: ["worker", "search"] for name in SEARCH}
        self.processes = {
            name: Process(["app", *command], environment(settings | planted(plant)), self.folder / f"{name}.log")
            for name, command in commands.items()
        }

    def be(self, *names: str) -> None:
        """Make sure that these processes run and are ready; others are left as they are."""
        started = [name for name in names if not self.processes[name].running]
        for name in started:
            self.processes[name].start()
        for name in started:
            wait_for(partial(self._ready, name), f"{name} is ready", READY_SECONDS)

    def _ready(self, name: str) -> bool:
        process = self.processes[name]
        assert process.running, f"{name} has ended: {process.log.read_text()[-2000:]}"
        return self.api_ready() if name == API else self.works(name)

    def api_ready(self) -> bool:
        """Return whether requests are accepted."""
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.address}/readyz", timeout=2, trust_env=False, verify=False).status_code == 200
        return False

    def works(self, name: str) -> bool:
        """Return whether a worker has sent a heartbeat since it was started."""
        pid = self.processes[name].pid
        with contextlib.suppress(DBAPIError), self.database.read() as session:
            return any(name.endswith(f"/{pid}") for name in session.scalars(select(WorkerBeat.worker)))
        return False

    def restart(self, name: str) -> None:
        """Kill a process with all below it and start it again, without waiting until it is ready."""
        self.processes[name].kill()
        self.processes[name].start()

    def worker_of(self, job: Job) -> Process:
        """Return the worker that runs a job."""
        pid = int(str(job.worker).rpartition("/")[2])
        for process in self.processes.values():
            if process.running and any(member.pid == pid for member in process.family()):
                return process
        raise LookupError(f"no worker runs {job.id}")

    def kill_processes(self) -> None:
        """Kill all of the service's processes at nearly the same moment."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Process.kill, self.processes.values()))

    def kill_everything(self) -> None:
        """Kill the service's processes, PostgreSQL and Redis at nearly the same moment."""
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(act) for act in (self.kill_processes, self.postgres.kill, self.redis.kill)]:
                done.result()

    def restart_database(self, seconds_down: float) -> None:
        """Stop PostgreSQL as a crash would, and start it after a while."""
        self.postgres.stop_immediate()
        time.sleep(seconds_down)
        self.postgres.start()

    def start_servers(self) -> None:
        """Start those of PostgreSQL and Redis that do not run."""
        for server in (self.postgres, self.redis):
            if not server.running:
                server.start()

    def heal(self) -> None:
        """Repair what a row has broken, and leave none of its jobs to the next."""
        self.start_servers()
        self.redis.resume()
        for process in self.processes.values():
            if process.running:
                process.thaw()
        for job_id in self._open_jobs():
            with self.database.write() as session:
                lifecycle.cancel(session, job_id)

    def _open_jobs(self) -> Sequence[UUID]:
        with self.database.read() as session:
            return session.scalars(select(Job.id).where(Job.state.not_in(ENDED))).all()


def _free_port() -> int:
    for port in random.sample(BELOW_EPHEMERAL, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise LookupError("no port is free")

"""The embedded service as real processes: started, watched, stopped and killed, as happens on a user's machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import psutil

READY_SECONDS = 60.0
END_SECONDS = 60.0
POLL_SECONDS = 0.02
SHORT_LEASES = {
    "NNMASS_LEASE_SECONDS": "2",
    "NNMASS_HEARTBEAT_SECONDS": "0.5",
    "NNMASS_SWEEP_SECONDS": "0.5",
    "NNMASS_RING_AGAIN_SECONDS": "1",
}
ENDED = ("succeeded", "failed", "cancelled")

Json = dict[str, Any]
T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """Look until there is something, for so long at most; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(POLL_SECONDS)
    return found


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings of the service and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NNMASS_")}
    return inherited | dict(settings)


def serve_command(folder: Path, *options: str) -> list[str]:
    """Return the command line that serves from a data folder."""
    return [sys.executable, "-m", "app", "serve", "--data-dir", str(folder), *options]


def gone(process: psutil.Process) -> bool:
    """Return whether a process has ended; orphans stay zombies when no process reaps them, as in a container."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes without a chance to say anything, and see them gone."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for(lambda: all(map(gone, processes)), "killed processes are gone")


def role_of(process: psutil.Process) -> str:
    """Return what a child is for: `api` or a worker's queue."""
    with contextlib.suppress(psutil.Error):
        program, _, role = process.name().partition(" ")
        if program == "nnmass":
            return "maintenance" if role == "sweeper" else role
    return ""


class Service:
    """One data folder and the processes that serve it; leaving its block kills whatever still runs."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.address = ""
        self._environment = environment(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx2.Client(verify=False)
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill_everything()
        kill(self._seen)
        self._client.close()

    # Processes

    def start(self, port: int = 0) -> None:
        """Start the service and wait until it accepts requests."""
        with self.log("serve").open("wb") as output:
            self._process = subprocess.Popen(
                serve_command(self.folder, "--port", str(port)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        wait_for(lambda: self._ended() or "nnmass: ready" in self.printed(), "the service is ready", READY_SECONDS)
        assert not self._ended(), self.printed()
        (self.address,) = re.findall(r"starting on (http://\S+?),", self.printed())
        self._client.close()
        # plain HTTP needs no certificates, which take 25 ms of processor time to load
        self._client = httpx2.Client(base_url=self.address, timeout=40, trust_env=False, verify=False)
        self.descendants()

    def stop(self, number: signal.Signals) -> int:
        """Ask the service to end; returns its exit code once it has."""
        assert self._process is not None
        self.descendants()
        self._process.send_signal(number)
        return self._process.wait(END_SECONDS)

    def kill_parent(self) -> None:
        """Kill only the parent process."""
        assert self._process is not None
        self.descendants()
        self._process.kill()
        self._process.wait()

    def kill_everything(self) -> None:
        """Kill the parent, then each process below it."""
        self.kill_parent()
        kill(self._seen)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2])

    def descendants(self) -> list[psutil.Process]:
        """Return every process below the parent."""
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._seen.update(psutil.Process(self._process.pid).children(recursive=True))
        return self.left()

    def left(self) -> list[psutil.Process]:
        """Return the processes ever seen below a parent that still run."""
        return [process for process in self._seen if not gone(process)]

    def child(self, role: str) -> psutil.Process:
        """Return the parent's own child of a role."""
        return wait_for(lambda: self._child(role), f"{role} runs")

    def _child(self, role: str) -> psutil.Process | None:
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        return next((child for child in children if role_of(child) == role and not gone(child)), None)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    # What it says

    def log(self, name: str) -> Path:
        """Return the path of a log: `serve` is what the parent says."""
        return self.folder / "serve.log" if name == "serve" else self.folder / "logs" / f"{name}.log"

    def printed(self) -> str:
        """Return what the parent has printed since its start."""
        return self.log("serve").read_text()

    def alarms(self) -> list[str]:
        """Return the lines of every log that report an error."""
        logs = [self.log("serve"), *(self.folder / "logs").glob("*.log")]
        alarming = re.compile(r"Traceback|ERROR|CRITICAL|restarting it")
        return [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines() if alarming.search(line)]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what the database file says."""
        with contextlib.closing(sqlite3.connect(self.folder / "nnmass.db", timeout=30)) as connection:
            return connection.execute(query, values).fetchall()

    # Requests

    def get(self, path: str) -> Json:
        """Return what a path answers."""
        answer: Json = self._client.get(path).raise_for_status().json()
        return answer

    def answers(self) -> bool:
        """Return whether the service accepts requests."""
        with contextlib.suppress(httpx2.HTTPError):
            return self._client.get("/readyz").status_code == 200
        return False

    def post(self, request: Json, *, wait_seconds: int = 0) -> httpx2.Response:
        """Submit a search."""
        headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
        return self._client.post("/v1/searches", json=request, headers=headers).raise_for_status()

    def measure(self, request: Json) -> str:
        """Submit a measurement; returns its path."""
        answer = self._client.post("/v1/measurements", json=request).raise_for_status()
        return str(answer.headers["Location"])

    def submit(self, request: Json) -> str:
        """Submit a search; returns its id once it is acknowledged."""
        answer = self.post(request)
        assert answer.status_code == 202
        return str(answer.json()["id"])

    def search(self, search_id: str) -> Json:
        """Return a search."""
        return self.get(f"/v1/searches/{search_id}")

    def cancel(self, job: str) -> Json:
        """Cancel a search by its id, or anything by its path; returns the answer."""
        path = job if job.startswith("/") else f"/v1/searches/{job}"
        answer: Json = self._client.post(f"{path}/cancel").raise_for_status().json()
        return answer

    def runs(self, search_id: str, attempt: int = 1) -> Json:
        """Wait until a search runs for the nth time; returns it."""

        def running() -> Json | None:
            found = self.search(search_id)
            assert found["status"] not in ENDED, found
            return found if found["status"] == "running" and found["attempts"] == attempt else None

        return wait_for(running, f"attempt {attempt} runs")

    def ends(self, search_id: str, seconds: float = 60.0) -> Json:
        """Wait until a search has ended; returns it."""

        def ended() -> Json | None:
            found = self.search(search_id)
            return found if found["status"] in ENDED else None

        return wait_for(ended, "the search has ended", seconds)

    def ranking(self, search_id: str) -> list[Json]:
        """Return the whole ranking of a search, page by page."""
        items: list[Json] = []
        following = ""
        while True:
            page = self.get(f"/v1/searches/{search_id}/architectures?limit=100{following}")
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            following = f"&cursor={page['next_cursor']}"

    def history(self) -> list[str]:
        """Return the ids of the newest searches, newest first."""
        return [item["id"] for item in self.get("/v1/searches?limit=100")["items"]]

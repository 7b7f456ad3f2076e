"""Bugs on request. With this folder first on PYTHONPATH, every Python process has the bug that CHAOS_PLANT names.

Python imports a module of this name at its start. It waits for the service's module and changes that once it has been
imported, before other modules import names from it; the service itself has no hook for this.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

VARIABLE = "CHAOS_PLANT"


def no_fence(jobs: Any) -> None:
    """A worker's writes are accepted whatever the state of the job."""
    jobs._mine = lambda held: jobs.Job.id == held.job_id


def no_sweeper(sweeper: Any) -> None:
    """No sweeper recovers jobs after a worker died or a notification was lost."""
    sweeper.Sweeper.sweep = lambda self: self._beat()


def publish_in_request(broker: Any) -> None:
    """The request that adds a job sends the notification itself, as Celery's `delay()` does."""

    def notify(self: Any, queue: str) -> None:
        self._celery.send_task(broker.LOOK[queue], queue=queue, ignore_result=True)

    broker.Dispatcher.notify = notify


def no_owner_filter(repository: Any) -> None:
    """Everybody may read every search: its owner is compared with itself."""
    owned, of_owner, anybody = repository.owned, repository.of_owner, repository.Job.owner
    repository.owned = lambda rows, kind, owner: owned(rows, kind, anybody)
    repository.of_owner = lambda query, rows, kind, owner: of_owner(query, rows, kind, anybody)


def no_guard_on_cancel(jobs: Any) -> None:
    """What has succeeded is cancelled all the same."""
    jobs.TRANSITIONS[jobs.State.SUCCEEDED] = frozenset({jobs.State.CANCELLED})


def no_turns(locks: Any) -> None:
    """Requests with one Idempotency-Key do not wait for each other."""
    locks.advisory_lock = lambda session, *parts: None


def early_answers(main: Any) -> None:
    """The API answers before it has committed."""
    from sqlalchemy.orm import Session

    from app.storage import db

    class Late(Session):
        def commit(self) -> None:
            self.info["late"] = True

        def close(self) -> None:
            if self.info.pop("late", False):
                threading.Timer(0.5, self._finish).start()
            else:
                super().close()

        def _finish(self) -> None:
            with contextlib.suppress(Exception):
                super().commit()
            super().close()

    vars(db)["Session"] = Late


def no_last_event_id(streams: Any) -> None:
    """A resumed stream starts from the beginning."""
    response = streams.Streams.response
    streams.Streams.response = lambda self, job, last, *rest: response(self, job, 0, *rest)


def endless_attempts(jobs: Any) -> None:
    """A job that kills its worker is tried for ever."""
    sweep, give_up_attempt = jobs.sweep, jobs.give_up_attempt
    jobs.sweep = lambda session, **limits: sweep(session, **(limits | {"most_attempts": 10**6}))
    jobs.give_up_attempt = lambda session, held, code, message, _: give_up_attempt(session, held, code, message, 10**6)


BUGS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "no_fence": ("app.jobs.lifecycle", no_fence),
    "no_sweeper": ("app.jobs.sweeper", no_sweeper),
    "publish_in_request": ("app.jobs.broker", publish_in_request),
    "no_owner_filter": ("app.searches.repository", no_owner_filter),
    "no_guard_on_cancel": ("app.jobs.lifecycle", no_guard_on_cancel),
    "no_turns": ("app.storage.locks", no_turns),
    "early_answers": ("app.main", early_answers),
    "no_last_event_id": ("app.http.event_streams", no_last_event_id),
    "endless_attempts": ("app.jobs.lifecycle", endless_attempts),
}
"""The module that each bug is planted in, and how."""


class Planter(MetaPathFinder):
    """Finds one module as Python would, and plants a bug in it once it has been executed."""

    def __init__(self, name: str, plant: Callable[[Any], None]) -> None:
        self._name = name
        self._plant = plant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of our module; others are for others to find."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_plant(module: ModuleType) -> None:
            execute(module)
            self._plant(module)

        spec.loader.exec_module = execute_and_plant  # type: ignore[method-assign]
        return spec


if VARIABLE in os.environ:
    sys.meta_path.insert(0, Planter(*BUGS[os.environ[VARIABLE]]))

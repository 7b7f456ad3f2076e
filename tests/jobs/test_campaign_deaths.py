"""A campaign whose workers are killed in every phase ends with the same plan: no training doubled, none lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from app.campaigns import planning, service, steps
from app.campaigns.schemas import CampaignBody
from app.config import Settings
from app.jobs import lifecycle
from app.jobs.lifecycle import ENDED
from app.jobs.sweeper import Sweeper
from app.storage.db import Database
from app.storage.models import Job, JobEvent, Verification
from tests.api import trainings
from tests.api.test_campaigns import BODY, PLANNED
from tests.conftest import Backend
from worker import campaign_tasks, search_tasks
from worker.process import Context

OWNER = "local"
PHASES = (
    "claimed",
    "chosen, not stored",
    "stored, not committed",
    "committed",
    "a training claimed",
    "trainings ended",
    "answer stored, not committed",
)


class Deaths:
    """A process that kills itself at the moments that a file lists, one a line; each is removed before its kill."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def plan(self, moments: Sequence[str]) -> None:
        self.path.write_text("\n".join(moments))

    @property
    def left(self) -> list[str]:
        return [line for line in self.path.read_text().split("\n") if line]

    def at(self, moment: str) -> None:
        if self.left[:1] == [moment]:
            self.plan(self.left[1:])
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, before: str | None, after: str | None) -> None:
        whole: Callable[..., Any] = getattr(owner, name)

        def call_unless_killed(*args: Any, **kwargs: Any) -> Any:
            self.at(before or "")
            found = whole(*args, **kwargs)
            self.at(after or "")
            return found

        setattr(owner, name, call_unless_killed)


def work(settings: Settings, deaths: Deaths) -> None:
    """Do all jobs until no campaign is left, with a death at each planned moment."""
    deaths.around(planning, "next_trainings", "claimed", "chosen, not stored")
    deaths.around(steps, "begin_round", None, "stored, not committed")
    deaths.around(steps, "succeed", None, "answer stored, not committed")
    deaths.around(campaign_tasks, "advance", None, "committed")
    end_all(Database(settings.sqlalchemy_url), settings, deaths)


def end_all(database: Database, settings: Settings, deaths: Deaths) -> None:
    """Do all jobs as the workers of the queues `search` and `train` with their sweepers."""
    context = Context(settings, database, f"test/{os.getpid()}")
    sweeper = Sweeper(database, settings, notify=lambda queue: None)
    while _left(database):
        sweeper.sweep()
        search_tasks.run_next(context)
        while _train(database, settings, deaths):
            pass
        deaths.at("trainings ended")
        time.sleep(0.02)


def _left(database: Database) -> bool:
    with database.read() as session:
        return bool(session.scalars(select(Job.id).where(Job.kind == "campaign", Job.state.not_in(ENDED))).all())


def _train(database: Database, settings: Settings, deaths: Deaths) -> bool:
    with database.write() as session:
        held = lifecycle.claim(session, "train", "test", settings.lease_seconds)
    if held is None:
        return False
    deaths.at("a training claimed")
    with database.read() as session:
        row = session.get_one(Verification, held.job_id)
    hits = int(row.arch_id[-3:], 16) % 10
    trainings.finish(
        database, held, dict.fromkeys(row.seeds, hits), hits / 10 if row.recipe.get("validation") else None
    )
    return True


def submit(backend: Backend, body: dict[str, Any]) -> UUID:
    with backend.database.write() as session:
        return UUID(str(service.submit(session, OWNER, CampaignBody.model_validate(body), None).body["id"]))


def answer_of(backend: Backend, campaign_id: UUID) -> dict[str, Any]:
    with backend.database.read() as session:
        return service.whole(session, OWNER, campaign_id)


def plan_of(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("round", "role", "arch_id", "seeds", "accuracy", "validation_accuracy", "predicted")
    return [tuple(one[name] for name in names) for one in answer["items"]]


def forget_trainings(backend: Backend) -> None:
    """Delete the trainings, which would be known to the next campaign."""
    with backend.database.write() as session:
        for verification_id in session.scalars(select(Verification.id)).all():
            assert lifecycle.delete(session, verification_id)


@pytest.mark.parametrize(("body", "number"), [(BODY, 6), (PLANNED | {"trainings": 8}, 10)], ids=["top", "planned"])
def test_a_campaign_killed_in_every_phase_ends_with_the_same_plan(
    backend: Backend, tmp_path: Path, body: dict[str, Any], number: int
) -> None:
    settings = backend.settings.model_copy(update={"lease_seconds": 0.3, "most_attempts": 100})
    deaths = Deaths(tmp_path / "deaths")
    deaths.plan([])
    calm_id = submit(backend, body)
    end_all(backend.database, settings, deaths)
    calm = answer_of(backend, calm_id)
    forget_trainings(backend)
    killed_id = submit(backend, body)
    deaths.plan([*PHASES[:6], "stored, not committed", "a training claimed", *PHASES[1:4], "claimed", PHASES[6]])
    backend.database.dispose()  # a forked process must not share connections
    while deaths.left:
        process = multiprocessing.get_context("fork").Process(target=work, args=(settings, deaths))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    end_all(backend.database, settings, deaths)
    killed = answer_of(backend, killed_id)
    with backend.database.read() as session:
        trained = session.scalars(select(Verification.id)).all()
        numbers = session.scalars(select(JobEvent.number).where(JobEvent.job_id == killed_id)).all()
    assert plan_of(killed) == plan_of(calm)
    assert len(trained) == len(killed["items"]) == number  # none doubled, none lost
    assert {str(one) for one in trained} == {item["verification"] for item in killed["items"]}
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for answer in (killed, calm):
        answer["result"]["best"].pop("verification")
    assert killed["result"] == calm["result"]
    assert killed["choices"] == calm["choices"]
    assert [one["fit"] is None for one in calm["choices"]] == [True, body is BODY]

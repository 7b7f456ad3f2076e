"""A row in which everything is killed while a campaign runs, in each of its phases."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import httpx2
from sqlalchemy import ColumnElement, Connection, select, text
from sqlalchemy.exc import DBAPIError

from app.campaigns.planning import CONFIRM
from app.jobs import lifecycle
from app.jobs.lifecycle import ENDED, State
from app.storage.models import CampaignTraining, Job, JobEvent, Verification
from nnmass_core.named.recipes import resolve_recipe
from tests.chaos.full import API, MAINTENANCE, SEARCH, TRAIN, FullMode
from tests.chaos.report import Outcome
from tests.chaos.search_requests import Json
from tests.chaos.stage import Stage, client_of, until

CHOOSER = SEARCH[0]
PROCESSES = (API, MAINTENANCE, CHOOSER, TRAIN)
PATIENCE_SECONDS = 90.0

CAMPAIGN: Json = {
    "search": {
        "space": {
            "family": "densenet_mlp",
            "in_features": 784,
            "num_classes": 10,
            "width": {"min": 8, "max": 32, "step": 8},
            "depth": {"min": 4, "max": 12},
            "skip_channels": {"min": 0, "max": 32},
            "activation": "relu",
        },
        "budget": {"max_params": 20_000},
    },
    "trainings": 3,
    "rounds": 2,
    "confirm": 1,
    "dataset": "fake",
    "recipe": replace(resolve_recipe("mlp-paper"), epochs=2).to_json(),
    "artifacts": [],
}
"""Two networks, one more, and a further seed of the best, some seconds each."""

BLOCKED = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike :statement "
    "and datname = current_database()"
)


async def campaign(stage: Stage) -> Outcome:
    """Everything is killed in each phase of a campaign: its plan and its answer are those of an undisturbed one.

    doubled: trainings of one network at the same seeds. lost: trainings of the undisturbed campaign that it lacks.
    """
    full = await stage.full(*PROCESSES)
    outcome = stage.outcome()
    async with client_of(full.address) as client:
        calm = await ended(client, await submit(client))
        forget_trainings(full)  # they would be known to the next campaign
        await asyncio.to_thread(full.processes[CHOOSER].kill)
        campaign_id = await submit(client)
        for name, phase in PHASES.items():
            await kill_in(full, campaign_id, name, phase)
        await asyncio.to_thread(full.start_servers)
        await asyncio.to_thread(full.be, *PROCESSES)
        killed = await ended(client, campaign_id)
    outcome.acked, outcome.notes["killed while"] = 1, ", ".join(PHASES)
    outcome.stuck = int(killed["status"] not in ENDED)
    compare(outcome, full, calm, killed)
    outcome.judge(1)
    outcome.require(f"the undisturbed campaign {calm['status']}", that=calm["status"] == State.SUCCEEDED)
    return outcome


def compare(outcome: Outcome, full: FullMode, calm: Json, killed: Json) -> None:
    """Compare the plan and the answer of two campaigns, and the trainings that the database has."""
    with full.database.read() as session:
        trained = session.execute(select(Verification.id, Verification.arch_id, Verification.seeds)).all()
        numbers = session.scalars(select(JobEvent.number).where(JobEvent.job_id == UUID(killed["id"]))).all()
    counts = Counter((arch_id, *seeds) for _, arch_id, seeds in trained)
    outcome.doubled = sum(count - 1 for count in counts.values())
    outcome.lost = len({*plan_of(calm)} - {*plan_of(killed)})
    outcome.wrong += plan_of(killed) != plan_of(calm)
    outcome.wrong += {str(one) for one, *_ in trained} != {item["verification"] for item in killed["items"]}
    outcome.wrong += answer_of(killed) != answer_of(calm)
    outcome.wrong += sorted(numbers) != [*range(1, len(numbers) + 1)]
    outcome.notes["trainings"] = len(trained)


def plan_of(campaign: Json) -> list[tuple[object, ...]]:
    """Return what a campaign has trained, why, and what it has measured."""
    fields = ("round", "role", "arch_id", "accuracy", "status")
    return [(*(item[name] for name in fields), *item["seeds"]) for item in campaign["items"]]


def answer_of(campaign: Json) -> Json:
    """Return the answer of a campaign without the id of the best's training."""
    result: Json = campaign["result"] or {}
    best = {name: value for name, value in (result.get("best") or {}).items() if name != "verification"}
    return {**result, "best": best}


async def submit(client: httpx2.AsyncClient) -> UUID:
    """Submit the campaign."""
    answer = await client.post("/v1/campaigns", json=CAMPAIGN)
    return UUID(answer.raise_for_status().json()["id"])


async def ended(client: httpx2.AsyncClient, campaign_id: UUID) -> Json:
    """Return a campaign once it has ended, or after a while."""
    found: Json = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while found.get("status") not in ENDED:
                await asyncio.sleep(0.2)
                found = (await client.get(f"/v1/campaigns/{campaign_id}")).raise_for_status().json()
    return found


def forget_trainings(full: FullMode) -> None:
    """Delete all trainings."""
    with full.database.write() as session:
        for verification_id in session.scalars(select(Verification.id)).all():
            assert lifecycle.delete(session, verification_id)


# Phases


@dataclass(frozen=True)
class Phase:
    """A moment of a campaign at which everything is killed.

    reached: whether it is that moment. locked: a table that nobody can write meanwhile, so that the transaction that
    does stays open. chooses: whether a worker is there that takes steps of campaigns.
    """

    reached: Callable[[FullMode, UUID], bool]
    locked: str | None = None
    chooses: bool = True


async def kill_in(full: FullMode, campaign_id: UUID, name: str, phase: Phase) -> None:
    """Start what does not run, wait for the phase, and kill everything."""
    await asyncio.to_thread(full.start_servers)
    holder = await asyncio.to_thread(hold, full, phase.locked) if phase.locked else None
    for process in PROCESSES if phase.chooses else (API, MAINTENANCE, TRAIN):
        if not full.processes[process].running:
            full.processes[process].start()
    await until(lambda: phase.reached(full, campaign_id), name, PATIENCE_SECONDS)
    await asyncio.to_thread(full.kill_everything)
    if holder is not None:
        with contextlib.suppress(DBAPIError):  # its server is dead
            holder.close()


def hold(full: FullMode, table: str) -> Connection:
    """Return a connection in a transaction that lets nobody write a table."""
    holder = full.database.engine.connect()
    holder.execute(text(f"lock table {table} in share mode"))
    return holder


def chooses(full: FullMode, campaign_id: UUID) -> bool:
    """Return whether a worker has claimed the campaign."""
    return job_of(full, campaign_id).lease_until is not None


def stores_round(full: FullMode, campaign_id: UUID) -> bool:
    """Return whether the transaction that stores a round waits for the table's lock."""
    return is_blocked(full, "insert into campaign_trainings%")


def trains(full: FullMode, campaign_id: UUID) -> bool:
    """Return whether a network of a round is being trained."""
    return is_training(full, campaign_id, CampaignTraining.role != CONFIRM)


def is_between_rounds(full: FullMode, campaign_id: UUID) -> bool:
    """Return whether the campaign waits for a worker, its trainings so far having ended."""
    return job_of(full, campaign_id).state == State.QUEUED


def confirms(full: FullMode, campaign_id: UUID) -> bool:
    """Return whether the best network is being trained at a further seed."""
    return is_training(full, campaign_id, CampaignTraining.role == CONFIRM)


def stores_answer(full: FullMode, campaign_id: UUID) -> bool:
    """Return whether the transaction that stores the answer waits for the table's lock."""
    return is_blocked(full, "update campaigns%")


def is_blocked(full: FullMode, statement: str) -> bool:
    """Return whether a statement waits for a lock."""
    with full.database.read() as session:
        return bool(session.execute(text(BLOCKED), {"statement": statement}).scalar_one())


def job_of(full: FullMode, campaign_id: UUID) -> Job:
    """Return the job of the campaign as it is now."""
    with full.database.read() as session:
        return session.get_one(Job, campaign_id)


def is_training(full: FullMode, campaign_id: UUID, role: ColumnElement[bool]) -> bool:
    """Return whether a training of the campaign with a role runs."""
    query = (
        select(Job.id)
        .join(CampaignTraining, CampaignTraining.verification_id == Job.id)
        .where(CampaignTraining.campaign_id == campaign_id, Job.state == State.RUNNING, role)
    )
    with full.database.read() as session:
        return session.scalars(query).first() is not None


PHASES = {
    "choosing": Phase(chooses),
    "storing a round": Phase(stores_round, locked="campaign_trainings"),
    "training": Phase(trains),
    "between rounds": Phase(is_between_rounds, chooses=False),
    "confirming": Phase(confirms),
    "answering": Phase(stores_answer, locked="campaigns"),
}
"""In the order in which a campaign has them."""

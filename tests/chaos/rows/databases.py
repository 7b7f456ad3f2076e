"""Rows in which the database becomes unavailable, or the processes around it are killed."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from app.storage.db import Database
from tests.chaos.full import USUAL
from tests.chaos.ledger import Found, times_of
from tests.chaos.processes import planted
from tests.chaos.report import Outcome
from tests.chaos.rows.workers import mixed
from tests.chaos.stage import Stage, every
from tests.processes.service import SHORT_LEASES, Service, kill

A_SECOND = 10
DOWN_SECONDS = 0.5
KILL_SECONDS = 2.0
RECOVERY_SECONDS = 5.0


async def database_restart(stage: Stage) -> Outcome:
    """PostgreSQL crashes again and again and is down for 0.5 s each time: clients get 503 and no other error.

    p50, p99: of the recovery: from the moment PostgreSQL is back to the end of each search that was open then.
    """
    full = await stage.full(*USUAL)
    outcome = stage.outcome()
    backs: list[datetime] = []

    def restart() -> None:
        full.restart_database(DOWN_SECONDS)
        backs.append(datetime.now(UTC))

    requests = mixed(stage, stage.size(A_SECOND * 20, least=A_SECOND * 6), long=0.05)
    async with stage.ledger(full.address, full.database) as ledger:
        async with every(2.5, restart):
            await ledger.post_paced(requests, a_second=A_SECOND)
        await ledger.all_ended()
        found = await ledger.compare(outcome)
    recoveries = [seconds for one in found.values() if (seconds := recovery_of(one, backs)) is not None]
    outcome.take_times(recoveries)
    outcome.notes |= {"restarts": len(backs), "open meanwhile": len(recoveries), **ledger.answers}
    outcome.judge(len(requests))
    outcome.require("PostgreSQL was never unavailable", that=bool(backs))
    outcome.require(f"POSTs were answered {dict(ledger.answers)}", that=set(ledger.answers) <= {"202", "503"})
    outcome.require("recovery took long", that=(outcome.p99 or 0) <= stage.limit(RECOVERY_SECONDS))
    return outcome


def recovery_of(one: Found, backs: list[datetime]) -> float | None:
    """Return the seconds from the last return of the database that a search lived through to its end."""
    if one.finished_at is None:
        return None
    lived_through = [back for back in backs if one.created_at < back < one.finished_at]
    return (one.finished_at - max(lived_through)).total_seconds() if lived_through else None


async def embedded_churn(stage: Stage) -> Outcome:
    """Embedded mode on SQLite: every 2 s one of its processes is killed, and the database file stays whole."""
    outcome = stage.outcome()
    requests = mixed(stage, stage.size(150, least=40))
    victims: list[str] = []
    settings = SHORT_LEASES | {"NNMASS_MOST_ATTEMPTS": "10"} | planted(stage.plant)  # as `poison` is another row
    with Service(stage.folder / "embedded", settings) as service:
        database = Database(f"sqlite:///{service.folder / 'nnmass.db'}")
        async with stage.ledger(service.address, database) as ledger:
            async with every(KILL_SECONDS, lambda: victims.append(kill_one(service, stage.rng))):
                await ledger.post_paced(requests, a_second=10)
                await ledger.all_ended()
            found = await ledger.compare(outcome)
        database.dispose()
        whole = service.rows("pragma integrity_check") == [("ok",)]
    outcome.take_times(times_of(found))
    again = sum(one.attempts > 1 for one in found.values())
    outcome.notes |= {"ran again": again} | {f"kills of {name}": victims.count(name) for name in sorted(set(victims))}
    outcome.judge(len(requests))
    outcome.require("the database file is damaged", that=whole)
    return outcome


def kill_one(service: Service, rng: random.Random) -> str:
    """Kill one process with all below it, or only the search process of a worker; returns which.

    It is one that is ready: killed while it starts, again and again, none would ever work.
    """
    beats = [worker for (worker,) in service.rows("select worker from worker_beats")]
    workers = [(queue, service.child(queue)) for queue in ("maintenance", "search")]
    victims = [pair for pair in workers if any(name.endswith(f"/{pair[1].pid}") for name in beats)]
    victims += [("searching", child) for queue, worker in victims if queue == "search" for child in worker.children()]
    if service.answers():
        victims.append(("api", service.child("api")))
    if not victims:
        return "nothing"
    name, victim = rng.choice(victims)
    kill([victim, *victim.children(recursive=True)])
    return name

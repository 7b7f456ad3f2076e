"""The rows of the table, in the order in which they run: those that need no worker come before any is started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.chaos.report import Outcome
from tests.chaos.rows import brokers, campaigns, clients, databases, suites, workers
from tests.chaos.stage import Stage

Row = Callable[[Stage], Awaitable[Outcome]]

SUITES: dict[str, Row] = {
    row.__name__: row
    for row in (
        suites.training_resume,
        suites.fuzz,
        suites.bad_disk,
        suites.state_machine,
        suites.tenants,
        suites.hostile_bytes,
    )
}
"""Rows that are tests of their own and bring all that they need, the longest first."""

ROWS: dict[str, Row] = {
    row.__name__: row
    for row in (
        clients.idempotency_storm,
        clients.stampede,
        clients.event_streams,
        clients.slow_clients,
        workers.worker_churn,
        brokers.broker_emptied,
        brokers.broker_killed,
        brokers.broker_frozen,
        brokers.broker_full,
        databases.database_restart,
        workers.zombie,
        workers.cancel_races,
        workers.blackout,
        workers.poison,
        campaigns.campaign,
        databases.embedded_churn,
    )
} | SUITES

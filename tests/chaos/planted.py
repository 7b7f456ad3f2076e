"""The planted bugs (see plants/sitecustomize.py) and what of the suite must find each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExpectedFailure:
    """The row that finds a bug, and a word of its reported reason."""

    row: str
    word: str


PLANTS = {
    "no_turns": ExpectedFailure("idempotency_storm", "wrong"),
    "no_last_event_id": ExpectedFailure("event_streams", "doubled"),
    "no_sweeper": ExpectedFailure("zombie", "stuck"),
    "publish_in_request": ExpectedFailure("broker_frozen", "waited"),
    "early_answers": ExpectedFailure("database_restart", "lost"),
    "no_fence": ExpectedFailure("zombie", "doubled"),
    "no_guard_on_cancel": ExpectedFailure("cancel_races", "doubled"),
    "endless_attempts": ExpectedFailure("poison", "stuck"),
    "no_owner_filter": ExpectedFailure("tenants", "wrong"),
}

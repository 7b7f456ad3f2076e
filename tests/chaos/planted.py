"""The planted bugs (see plants/sitecustomize.py) and what of the suite must find each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Telling:
    """The row that finds a bug, and a word of its reported reason."""

    row: str
    word: str


PLANTS = {
    "no_turns": Telling("idempotency_storm", "wrong"),
    "no_last_event_id": Telling("event_streams", "doubled"),
    "no_sweeper": Telling("zombie", "stuck"),
    "publish_in_request": Telling("broker_frozen", "waited"),
    "early_answers": Telling("database_restart", "lost"),
    "no_fence": Telling("zombie", "doubled"),
    "no_guard_on_cancel": Telling("cancel_races", "doubled"),
    "endless_attempts": Telling("poison", "stuck"),
    "no_owner_filter": Telling("tenants", "wrong"),
}

"""Locks between transactions."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

LOCK = text("select pg_advisory_xact_lock(hashtextextended(:parts, 0))")


def advisory_lock(session: Session, *parts: str) -> None:
    """Let transactions with the same parts run one at a time, until they end (SQLite's writers always do)."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(LOCK, {"parts": "\n".join(parts)})

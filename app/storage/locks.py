"""Locks between transactions."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session


def advisory_lock(session: Session, *parts: str) -> None:
    """Let transactions with the same parts run one at a time, until they end (SQLite's writers always do)."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("select pg_advisory_xact_lock(hashtextextended(:parts, 0))"), {"parts": "\n".join(parts)})

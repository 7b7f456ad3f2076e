"""Alembic's entry point: run migrations on the given connection, or on the database of the environment."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from app.config import Settings
from app.storage.db import make_engine
from app.storage.models import Base

MIGRATION_LOCK = 7_164_225_300


def run(connection: Connection) -> None:
    """Run the missing migrations, one process at a time."""
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("migrations need a database to run on")
given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    settings = Settings()
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    with make_engine(settings.sqlalchemy_url).connect() as own:
        run(own)

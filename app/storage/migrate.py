"""Migrate the database's schema, and compare it with what this version expects."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, for an open connection if one is given."""
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Migrate the schema to this version; several processes may do so concurrently."""
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), "head")


def is_current(connection: Connection) -> bool:
    """Return whether the schema is the one that this version expects."""
    return MigrationContext.configure(connection).get_current_revision() == _head()


@cache
def _head() -> str | None:
    return ScriptDirectory.from_config(alembic_config()).get_current_head()

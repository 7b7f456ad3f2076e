"""Migrate the database's schema, and compare it with what this version expects.

Only a migration needs Alembic, which takes a tenth of the time in which the API loads; a process that compares does
without.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS = "alembic_version"
"""The table in which Alembic keeps the number of the last migration."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, for an open connection if one is given."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Migrate the schema to this version; several processes may do so concurrently."""
    from alembic import command

    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), "head")


def is_current(connection: Connection) -> bool:
    """Return whether the schema is the one that this version expects."""
    if not inspect(connection).has_table(VERSIONS):
        return False
    return connection.scalars(text(f"SELECT version_num FROM {VERSIONS}")).all() == [head()]  # noqa: S608 - a constant


@cache
def head() -> str:
    """Return the number of the newest migration, with which the name of its file begins."""
    names = [path.name for path in files("migrations").joinpath("versions").iterdir()]
    return max(name[:4] for name in names if re.match(r"\d{4}_\w+\.py$", name))

"""The database that the service uses: opened for a command, and brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from app.cli.settings import DataDir, settings_here, use_folder

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after the database.")


@app.command("upgrade")
def upgrade(data_dir: DataDir = None) -> None:
    """Bring the database's schema to this version."""
    from app import schema
    from app.db import make_engine

    use_folder(data_dir)
    settings = settings_here()
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    with database_there():
        schema.upgrade(make_engine(settings.sqlalchemy_url))


@contextmanager
def database_there() -> Iterator[None]:
    """End with one line when the database does not answer, or has no tables yet."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        typer.echo(
            f"nnmass: the database does not answer, or needs `nnmass db upgrade`: {type(error.orig).__name__}", err=True
        )
        raise typer.Exit(1) from error

"""Commands for the service's database: upgrade, prune and back up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.settings import DataDir, settings_here, use_folder
from nnmass.cli.commands import CommandLine
from nnmass.cli.exit_codes import fail, refuse

if TYPE_CHECKING:
    from datetime import datetime

    from app.jobs.retention import PruneReport

app = CommandLine(no_args_is_help=True, help="Manage the database.")


@app.command("upgrade")
def upgrade(data_dir: DataDir = None) -> None:
    """Upgrade the database schema to this version."""
    from app.storage import migrate
    from app.storage.db import make_engine

    use_folder(data_dir)
    settings = settings_here()
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    with database_there():
        migrate.upgrade(make_engine(settings.sqlalchemy_url))


class Kind(StrEnum):
    """What can be deleted because of its age."""

    SEARCHES = "searches"
    VERIFICATIONS = "verifications"
    CAMPAIGNS = "campaigns"
    MEASUREMENTS = "measurements"
    EXPORTS = "exports"


@app.command("prune")
def prune(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Delete what ended longer ago than this: 12h, 90d, 6w.")
    ],
    kind: Annotated[list[Kind] | None, typer.Option(help="What to delete (default: searches). Repeatable.")] = None,
    data_dir: DataDir = None,
    *,
    keep_tagged: Annotated[bool, typer.Option("--keep-tagged", help="Keep searches that have a tag.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; print what would be deleted.")] = False,
) -> None:
    """Delete jobs that ended long ago and their data, and print what was deleted.

    Keeps searches that trainings refer to, and trainings whose replays it keeps. Never deletes queued or running jobs.
    """
    from app.jobs import retention
    from app.storage.db import Database

    try:
        age = retention.age_of(older_than)
    except ValueError as error:
        refuse(f"--older-than {error}")
    use_folder(data_dir)
    settings = settings_here()
    if settings.embedded and not settings.database_file.exists():
        refuse(f"there is no database in {settings.data_dir}")
    policy = retention.RetentionPolicy(age, tuple(kind or (Kind.SEARCHES,)), keep_tagged)
    removed = retention.PruneReport()
    database = Database(settings.sqlalchemy_url)
    with database_there():
        before = retention.cutoff(database, policy)
        try:
            for batch in retention.prune(database, settings.training_dir, policy, before, dry_run=dry_run):
                removed.add(batch)
        finally:  # when interrupted, report what has been deleted
            _print_removed(removed, before, dry_run=dry_run)
            database.dispose()


def _print_removed(removed: PruneReport, before: datetime, *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    typer.echo(f"{verb} {removed.jobs} jobs that ended before {before:%Y-%m-%d %H:%M:%S} UTC")
    for table, count in sorted(removed.rows.items()):
        typer.echo(f"{count} rows of {table}")
    typer.echo(f"{removed.stored_bytes} bytes of files in the database")
    typer.echo(f"{removed.files} files on disk, {removed.file_bytes} bytes")


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Output file; an existing file is replaced.")],
    data_dir: DataDir = None,
) -> None:
    """Write a consistent copy of embedded mode's database to a file while the service runs.

    In full mode, use pg_dump to back up PostgreSQL.
    """
    import sqlite3

    use_folder(data_dir)
    settings = settings_here()
    if not settings.embedded:
        refuse("the database is PostgreSQL; use pg_dump to back it up")
    if not settings.database_file.exists():
        refuse(f"there is no database in {settings.data_dir}")
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        with closing(sqlite3.connect(settings.database_file)) as ours, closing(sqlite3.connect(unfinished)) as copy:
            ours.backup(copy)  # all of it in one step: a snapshot that blocks no writer
        unfinished.replace(file)
    except (OSError, sqlite3.Error) as error:
        unfinished.unlink(missing_ok=True)
        fail(f"cannot write the backup: {error}")
    typer.echo(f"nnmass: wrote {file}, {file.stat().st_size} bytes", err=True)


@contextmanager
def database_there() -> Iterator[None]:
    """Exit with one line when the database is unavailable or has no tables yet."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        typer.echo(
            f"nnmass: the database does not respond, or needs `nnmass db upgrade`: {type(error.orig).__name__}",
            err=True,
        )
        raise typer.Exit(1) from error

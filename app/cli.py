"""The command `nnmass`. Imports inside functions keep it quick: most commands need little of the service."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.config import Settings

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
database = typer.Typer(no_args_is_help=True, help="Look after the database.")
keys = typer.Typer(no_args_is_help=True, help="Say who may use the service: make, list and revoke API keys.")
app.add_typer(database, name="db")
app.add_typer(keys, name="keys")


DataDir = Annotated[Path | None, typer.Option(help="Folder of embedded mode's data.")]


class WorkerQueue(StrEnum):
    """The queues that a worker can serve."""

    SEARCH = "search"
    TRAIN = "train"
    MAINTENANCE = "maintenance"


@app.callback()
def nnmass() -> None:
    """Which neural network fits my hardware? Exact architecture search around NN-Mass, as a service."""


@app.command()
def version() -> None:
    """Print the version."""
    from nnmass_core import __version__

    typer.echo(__version__)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    data_dir: DataDir = None,
) -> None:
    """Run the service.

    Without NNMASS_DATABASE_URL and NNMASS_BROKER_URL everything runs here, in embedded mode: API, workers and sweeper,
    with SQLite in the data folder. With both set, this is the API alone.
    """
    _use_folder(data_dir)
    from app.embedded import Embedded, StartRefused
    from app.server import fit_for, run_api

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        settings = fit_for(host, _settings())
        if settings.embedded:
            raise typer.Exit(Embedded(settings, host, port).run())
    except StartRefused as refusal:
        _refuse(str(refusal))
    _check_broker(settings)
    run_api(settings, host=host, port=port)


def _check_broker(settings: Settings) -> None:
    """Refuse a broker that would lose messages; one that is away for now is waited for by those who need it."""
    from app.broker import BrokerUnfit, check_redis, reachable

    try:
        if not settings.embedded and reachable(settings):
            check_redis(settings)
    except BrokerUnfit as unfit:
        _refuse(str(unfit))


@app.command(hidden=True)
def api(fd: Annotated[int, typer.Option(help="A listening socket that the parent has opened.")]) -> None:
    """Run the API alone on an open socket: embedded mode's own child."""
    from app.parent import watch_parent

    watch_parent()  # before the rest is imported, so that a parent killed meanwhile leaves nothing behind
    from app.server import run_api

    run_api(_settings(), fd=fd)


@app.command()
def worker(
    queue: Annotated[WorkerQueue, typer.Argument(help="What to work on.")],
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at once.")] = 1,
) -> None:
    """Run a worker for one queue. `maintenance` is the sweeper."""
    settings = _settings()
    _check_broker(settings)
    if settings.embedded and concurrency > 1:
        _refuse("--concurrency: embedded mode does one job at a time")
    # a pool fed by bells in a folder hands work over under a lock, and a process killed while it holds that takes it
    # along: the worker would never work again (ADR 12)
    pool = "solo" if settings.embedded or queue is WorkerQueue.MAINTENANCE else "prefork"
    celery = [sys.executable, "-m", "celery", "--app", "worker.celery_app", "--skip-checks", "worker"]
    what = [
        "--queues",
        queue.value,
        "--hostname",
        f"{queue.value}@%h",
        "--pool",
        pool,
        "--concurrency",
        str(concurrency),
    ]
    quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execv(sys.executable, [*celery, *what, *quiet])  # noqa: S606 - no shell is wanted


class ExportFormat(StrEnum):
    """The files that an architecture can become."""

    PYTORCH = "pytorch"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    JSON = "json"


@app.command()
def export(
    definition: Annotated[typer.FileText, typer.Argument(help="The architecture's JSON definition; - reads it here.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="What to write.")] = ExportFormat.PYTORCH,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Draws the skip wiring.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; text goes here without it.")] = None,
) -> None:
    """Write an architecture as a file, without the service. ONNX and TorchScript need torch (the extra `train`)."""
    import json

    from app.exporting import ExportFailed, content_of
    from nnmass_core.errors import DefinitionError
    from nnmass_core.families import decode_architecture

    if output is None and form in (ExportFormat.ONNX, ExportFormat.TORCHSCRIPT):
        _refuse(f"--output is needed: {form.value} is no text")
    try:
        architecture = decode_architecture(json.load(definition))
        content = content_of(architecture, form.value, seed)
    except json.JSONDecodeError as error:
        _refuse(f"the definition is not JSON: {error}")
    except DefinitionError as error:
        _refuse("; ".join(f"{problem.field or 'definition'} {problem.message}" for problem in error.problems))
    except ExportFailed as error:
        _refuse(str(error))
    if output is None:
        typer.echo(content.decode(), nl=False)
    else:
        output.write_bytes(content)


@database.command("upgrade")
def upgrade(data_dir: DataDir = None) -> None:
    """Bring the database's schema to this version."""
    from app import schema
    from app.db import make_engine

    _use_folder(data_dir)
    settings = _settings()
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    with _database_there():
        schema.upgrade(make_engine(settings.sqlalchemy_url))


@keys.command("create")
def create_key(
    owner: Annotated[str, typer.Option(help="Whose it is: an owner sees what was made with their keys, no other's.")],
    scopes: Annotated[str, typer.Option(help="What it allows: read, search, train, admin.")] = "read,search,train",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Days until it expires; never without.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this once. From the first on, every request needs one.

    `--owner local` is the owner of what was made before there were keys.
    """
    from datetime import timedelta

    from app import keys as api_keys

    allowed = {scope.value: scope for scope in api_keys.Scope}
    wanted = [scope.strip() for scope in scopes.split(",")]
    if unknown := [scope for scope in wanted if scope not in allowed]:
        _refuse(f"--scopes: {', '.join(unknown) or 'nothing'} is none of {', '.join(allowed)}")
    if not api_keys.OWNER.fullmatch(owner):
        _refuse(f"--owner: {api_keys.OWNER_RULE}")
    with _keys_session(data_dir) as session:
        expires_in = None if days is None else timedelta(days=days)
        chosen = {allowed[scope] for scope in wanted}
        row, token = api_keys.create(session, owner, chosen, name=name[:200], expires_in=expires_in)
    until = f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "until it is revoked"
    typer.echo(
        f"nnmass: key {row.prefix} of {owner} ({', '.join(row.scopes)}), {until}; it is shown only now:", err=True
    )
    typer.echo(token)


@keys.command("list")
def list_keys(
    owner: Annotated[str | None, typer.Option(help="Of this owner alone.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the keys, without their secrets."""
    import json

    from app import keys as api_keys

    with _keys_session(data_dir) as session:
        found = [api_keys.described(row) for row in api_keys.listed(session, owner)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for key in found:
        ended = f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        used = f"used {key['last_used_at'] or 'never'}"
        typer.echo("  ".join([key["prefix"], key["owner"], ",".join(key["scopes"]), ended, used, key["name"]]).rstrip())


@keys.command("revoke")
def revoke_key(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, as `keys list` shows it (or the key itself).")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key for good; every process refuses it within seconds."""
    from app import keys as api_keys

    named = api_keys.TOKEN.fullmatch(prefix)
    with _keys_session(data_dir) as session:
        revoked = api_keys.revoke(session, named[1] if named else prefix)
    if not revoked:
        _refuse("there is no such key, or it is revoked already")


@contextmanager
def _keys_session(data_dir: Path | None) -> Iterator[Session]:
    """Open the database that the service uses, made where embedded mode has none yet."""
    from app import schema
    from app.db import Database

    _use_folder(data_dir)
    settings = _settings()
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    opened = Database(settings.sqlalchemy_url)
    try:
        with _database_there():
            if settings.embedded:
                schema.upgrade(opened.engine)
            with opened.write() as session:
                yield session
    finally:
        opened.dispose()


@contextmanager
def _database_there() -> Iterator[None]:
    """End with one line when the database does not answer, or has no tables yet."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        typer.echo(
            f"nnmass: the database does not answer, or needs `nnmass db upgrade`: {type(error.orig).__name__}", err=True
        )
        raise typer.Exit(1) from error


def _use_folder(data_dir: Path | None) -> None:
    if data_dir is not None:
        os.environ["NNMASS_DATA_DIR"] = str(data_dir)


def _settings() -> Settings:
    from pydantic import ValidationError

    from app.config import Settings

    try:
        return Settings()
    except ValidationError as error:
        _refuse("; ".join(f"{_variable(item['loc'])}{item['msg']}" for item in error.errors(include_input=False)))


def _variable(place: tuple[int | str, ...]) -> str:
    return f"NNMASS_{str(place[0]).upper()}: " if place else ""


def _refuse(reason: str) -> NoReturn:
    """End with one clear line and exit code 2."""
    typer.echo(f"nnmass: {reason}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """Run the command line."""
    app()

"""API keys: made, listed and revoked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.database import database_there
from app.cli.settings import DataDir, settings_here, use_folder
from nnmass.cli.exit_codes import refuse

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Say who may use the service: make, list and revoke API keys."
)


@app.command("create")
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

    from app.auth import keys as api_keys

    allowed = {scope.value: scope for scope in api_keys.Scope}
    wanted = [scope.strip() for scope in scopes.split(",")]
    if unknown := [scope for scope in wanted if scope not in allowed]:
        refuse(f"--scopes: {', '.join(unknown) or 'nothing'} is none of {', '.join(allowed)}")
    if not api_keys.OWNER.fullmatch(owner):
        refuse(f"--owner: {api_keys.OWNER_RULE}")
    with _keys_session(data_dir) as session:
        expires_in = None if days is None else timedelta(days=days)
        chosen = {allowed[scope] for scope in wanted}
        row, token = api_keys.create(session, owner, chosen, name=name[:200], expires_in=expires_in)
    until = f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "until it is revoked"
    typer.echo(
        f"nnmass: key {row.prefix} of {owner} ({', '.join(row.scopes)}), {until}; it is shown only now:", err=True
    )
    typer.echo(token)


@app.command("list")
def list_keys(
    owner: Annotated[str | None, typer.Option(help="Of this owner alone.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the keys, without their secrets."""
    import json

    from app.auth import keys as api_keys

    with _keys_session(data_dir) as session:
        found = [api_keys.described(row) for row in api_keys.listed(session, owner)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for key in found:
        ended = f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        used = f"used {key['last_used_at'] or 'never'}"
        typer.echo("  ".join([key["prefix"], key["owner"], ",".join(key["scopes"]), ended, used, key["name"]]).rstrip())


@app.command("revoke")
def revoke_key(
    prefix: Annotated[str, typer.Argument(help="The key's prefix, as `keys list` shows it (or the key itself).")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key for good; every process refuses it within seconds."""
    from app.auth import keys as api_keys

    named = api_keys.TOKEN.fullmatch(prefix)
    with _keys_session(data_dir) as session:
        revoked = api_keys.revoke(session, named[1] if named else prefix)
    if not revoked:
        refuse("there is no such key, or it is revoked already")


@contextmanager
def _keys_session(data_dir: Path | None) -> Iterator[Session]:
    """Open the database that the service uses, made where embedded mode has none yet."""
    from app.storage import migrate
    from app.storage.db import Database

    use_folder(data_dir)
    settings = settings_here()
    if settings.embedded:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    opened = Database(settings.sqlalchemy_url)
    try:
        with database_there():
            if settings.embedded:
                migrate.upgrade(opened.engine)
            with opened.write() as session:
                yield session
    finally:
        opened.dispose()

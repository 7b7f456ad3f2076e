"""Commands for API keys: create, list and revoke."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.database import database_there
from app.cli.settings import DataDir, settings_here, use_folder
from nnmass.cli.commands import CommandLine
from nnmass.cli.exit_codes import refuse

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = CommandLine(no_args_is_help=True, help="Manage API keys.")


@app.command("create")
def create_key(
    owner: Annotated[
        str, typer.Option(help="Owner of the key. An owner sees only what the keys of this owner created.")
    ],
    scopes: Annotated[
        str, typer.Option(help="Comma-separated scopes: read, search, train, admin.")
    ] = "read,search,train",
    name: Annotated[str, typer.Option(help="Purpose of the key.")] = "",
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Days until expiry (default: never).")] = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API key and print it. It cannot be shown again.

    Once a key exists, every request requires one. `--owner local` owns everything created before the first key.
    """
    from datetime import timedelta

    from app.auth import keys as api_keys

    allowed = {scope.value: scope for scope in api_keys.Scope}
    wanted = [scope.strip() for scope in scopes.split(",")]
    if unknown := [scope for scope in wanted if scope not in allowed]:
        refuse(f"--scopes: {', '.join(unknown) or 'nothing'} is not one of {', '.join(allowed)}")
    if not api_keys.OWNER.fullmatch(owner):
        refuse(f"--owner {api_keys.OWNER_RULE}")
    with _keys_session(data_dir) as session:
        expires_in = None if days is None else timedelta(days=days)
        chosen = {allowed[scope] for scope in wanted}
        row, token = api_keys.create(session, owner, chosen, name=name[:200], expires_in=expires_in)
    until = f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "until it is revoked"
    typer.echo(
        f"nnmass: key {row.prefix} of {owner} ({', '.join(row.scopes)}), {until}; it cannot be shown again:",
        err=True,
    )
    typer.echo(token)


@app.command("list")
def list_keys(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the API keys, without their secrets."""
    import json

    from app.auth import keys as api_keys

    with _keys_session(data_dir) as session:
        found = [api_keys.described(row) for row in api_keys.list_page(session, owner)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for key in found:
        ended = f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        used = f"used {key['last_used_at'] or 'never'}"
        typer.echo("  ".join([key["prefix"], key["owner"], ",".join(key["scopes"]), ended, used, key["name"]]).rstrip())


@app.command("revoke")
def revoke_key(
    prefix: Annotated[str, typer.Argument(help="Prefix of the key, as `keys list` shows it, or the key itself.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke an API key permanently. All processes refuse it within seconds."""
    from app.auth import keys as api_keys

    named = api_keys.TOKEN.fullmatch(prefix)
    with _keys_session(data_dir) as session:
        revoked = api_keys.revoke(session, named[1] if named else prefix)
    if not revoked:
        refuse("no such key, or it is already revoked")


@contextmanager
def _keys_session(data_dir: Path | None) -> Iterator[Session]:
    """Open the service's database; create it where embedded mode has none yet."""
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

"""The commands of the service, and all commands together for `python -m app`, which needs no installed metadata."""

from __future__ import annotations

from app.cli import database, keys, serve
from nnmass.cli.commands import CommandLine, Group
from nnmass.cli.root import command_line

service = CommandLine()
"""The commands that the service adds to `nnmass`: its entry point `nnmass.commands`."""

service.command()(serve.serve)
service.command()(serve.worker)
service.add_typer(keys.app, name="keys")
service.add_typer(database.app, name="db")

app = command_line(Group)
app.add_typer(service)


def main() -> None:
    """Run the command line."""
    app()

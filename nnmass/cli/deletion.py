"""Commands that delete what a service stores, after a confirmation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from nnmass.cli.commands import CommandLine
from nnmass.cli.exit_codes import exit_on_error, refuse
from nnmass.cli.options import KeyFile, Server, client_of

if TYPE_CHECKING:
    from nnmass.client import Client

app = CommandLine(no_args_is_help=True, help="Delete what a service stores.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Its id, or its name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class StoredFormat(StrEnum):
    """The formats of files that a service stores."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    METADATA = "metadata"


class Stored(NamedTuple):
    """Something with an id that a service stores: what is deleted, in a sentence and for people, and how."""

    help: str
    called: str
    delete: Callable[[Client, str], None]


STORED = {
    "search": Stored(
        "Delete a search with its ranking; trainings of its networks stay.",
        "the search {} with its ranking",
        lambda client, search_id: client.delete(search_id),
    ),
    "verification": Stored(
        "Delete a training with its files; its accuracy is no longer evidence.",
        "the training {} with its files and its evidence",
        lambda client, verification_id: client.delete_verification(verification_id),
    ),
    "campaign": Stored(
        "Delete a campaign; its trainings stay, as evidence.",
        "the campaign {}",
        lambda client, campaign_id: client.delete_campaign(campaign_id),
    ),
    "measurement": Stored(
        "Delete a measurement with its figures.",
        "the measurement {}",
        lambda client, measurement_id: client.delete_measurement(measurement_id),
    ),
    "point": Stored(
        "Delete the figures that you uploaded beside a network.",
        "the figures beside {}",
        lambda client, arch_id: client.delete_point(arch_id),
    ),
    "column": Stored(
        "Delete one of your columns of figures.",
        "the column {} with all its figures",
        lambda client, name: client.delete_column(name),
    ),
    "architecture": Stored(
        "Delete a network that you registered and that nothing uses.",
        "the network {}",
        lambda client, arch_id: client.delete_architecture(arch_id),
    ),
}


def _add(name: str, stored: Stored) -> None:
    @app.command(name, help=stored.help)
    def command(stored_id: Id, server: Server = None, key_file: KeyFile = None, *, yes: Yes = False) -> None:
        what = stored.called.format(stored_id)
        _delete(what, lambda client: stored.delete(client, stored_id), server, key_file, yes=yes)


for _name, _stored in STORED.items():
    _add(_name, _stored)


@app.command("export")
def export(
    source: Annotated[str, typer.Argument(metavar="ARCH_ID|TRAINING", help="Id of the network, or of the training.")],
    form: Annotated[StoredFormat, typer.Option("--format", help="Format of the file.")],
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**32 - 1, help="Seed of its wiring and initial weights (default: 0); of a training, its seed."
        ),
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    yes: Yes = False,
) -> None:
    """Delete a file that a worker created, with any options."""
    from nnmass.search_options import is_id

    trained = is_id(source)
    if trained and form != StoredFormat.ONNX:
        refuse("--format must be onnx: workers write no other file of a training")

    def delete(client: Client) -> None:
        if trained:
            client.delete_trained_export(source, seed=seed)
        else:
            client.delete_export(source, format=form.value, seed=seed or 0)

    named = "" if trained and seed is None else f" with seed {seed or 0}"
    _delete(f"the {form.value} file of {source}{named}", delete, server, key_file, yes=yes)


def _delete(
    what: str, delete: Callable[[Client], None], server: str | None, key_file: Path | None, *, yes: bool
) -> None:
    """Ask, delete, and print what was deleted."""
    if not yes:
        if not sys.stdin.isatty():
            refuse("--yes is required where nobody can be asked")
        typer.confirm(f"Delete {what}?", abort=True, err=True)
    with exit_on_error(), client_of(server, key_file) as client:
        delete(client)
    typer.echo(f"deleted {what}")

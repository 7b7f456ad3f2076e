"""Commands that delete what a service stores, after a confirmation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnmass.cli.exit_codes import exit_on_error, refuse
from nnmass.cli.options import KeyFile, Server, client_of

if TYPE_CHECKING:
    from nnmass.client import Client

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Delete what a service stores.")

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class StoredFormat(StrEnum):
    """The formats of files that a service stores."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"


@app.command("search")
def search(
    search_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the search.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    yes: Yes = False,
) -> None:
    """Delete a search with its ranking; trainings of its networks stay."""
    what = f"the search {search_id} with its ranking"
    _delete(what, lambda client: client.delete(search_id), server, key_file, yes=yes)


@app.command("verification")
def verification(
    verification_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the training.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    yes: Yes = False,
) -> None:
    """Delete a training with its files; its accuracy is no longer evidence."""
    what = f"the training {verification_id} with its files and its evidence"
    _delete(what, lambda client: client.delete_verification(verification_id), server, key_file, yes=yes)


@app.command("measurement")
def measurement(
    measurement_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the measurement.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    yes: Yes = False,
) -> None:
    """Delete a measurement with its figures."""
    what = f"the measurement {measurement_id}"
    _delete(what, lambda client: client.delete_measurement(measurement_id), server, key_file, yes=yes)


@app.command("architecture")
def architecture(
    arch_id: Annotated[str, typer.Argument(metavar="ARCH_ID", help="Id of the network.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    yes: Yes = False,
) -> None:
    """Delete a network that you registered and that nothing uses."""
    what = f"the network {arch_id}"
    _delete(what, lambda client: client.delete_architecture(arch_id), server, key_file, yes=yes)


@app.command("export")
def export(
    arch_id: Annotated[str, typer.Argument(metavar="ARCH_ID", help="Id of the network.")],
    form: Annotated[StoredFormat, typer.Option("--format", help="Format of the file.")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of its wiring and initial weights.")] = 0,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    yes: Yes = False,
) -> None:
    """Delete a file that a worker created."""
    what = f"the {form.value} file of {arch_id} with seed {seed}"
    delete = lambda client: client.delete_export(arch_id, format=form.value, seed=seed)  # noqa: E731 - as in the others
    _delete(what, delete, server, key_file, yes=yes)


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

"""The commands, put together."""

from __future__ import annotations

import typer

from app.cli import calibrate, database, history, keys, networks, search, serve, training
from app.cli.quick import QuickCommand, QuickGroup

# plain help: with rich's markup each start would load all of rich before it does anything
app = typer.Typer(
    cls=QuickGroup, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

EXIT_CODES = (
    "Exit codes: 0 found; 1 failed (no service answers, a search or training failed); 2 wrong input; 3 nothing fits; "
    "4 not proved within the time limit; 130 interrupted."
)
app.command(cls=QuickCommand, epilog=EXIT_CODES)(search.search)
app.command(cls=QuickCommand, epilog=EXIT_CODES)(search.compress)
app.command(cls=QuickCommand)(search.presets)
app.command(cls=QuickCommand)(search.devices)
app.command(cls=QuickCommand)(calibrate.calibrate)
app.command(cls=QuickCommand)(networks.evaluate)
app.command(cls=QuickCommand)(networks.export)
app.command(cls=QuickCommand)(networks.diagram)
app.command(cls=QuickCommand, epilog=EXIT_CODES)(training.verify)
app.command(cls=QuickCommand)(history.history)
app.command(cls=QuickCommand)(history.show)
app.command(cls=QuickCommand)(serve.serve)
app.command(cls=QuickCommand)(serve.worker)
app.command(cls=QuickCommand, hidden=True)(serve.api)
app.add_typer(keys.app, name="keys")
app.add_typer(database.app, name="db")


@app.command(cls=QuickCommand)
def version() -> None:
    """Print the version."""
    from nnmass_core import __version__

    typer.echo(__version__)


@app.callback()
def nnmass() -> None:
    """Which neural network fits my hardware? Exact architecture search around NN-Mass.

    `nnmass search --preset densenet-cifar --max-params 1M --max-macs 150M` answers here and now; `nnmass serve` runs
    the service, which keeps what was found and trains it.
    """


def main() -> None:
    """Run the command line."""
    app()

"""The commands, put together: the library's own, and those of installed distributions."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nnmass.cli import calibrate, campaigns, deletion, history, networks, search, training
from nnmass.cli.commands import CommandLine, Group
from nnmass.cli.exit_codes import refuse

# untyped: commands of typer and click, which share no type

ENTRY_POINTS = "nnmass.commands"
"""The entry point group in which an installed distribution registers a typer.Typer with more commands."""

SERVICE_COMMANDS = ("serve", "worker", "keys", "db")
"""The commands that the distribution `nnmass-service` adds."""

EXIT_CODES = (
    "Exit codes: 0 success; 1 failure (no service responds, a search or training failed); 2 invalid input; "
    "3 nothing fits; 4 not proved within the time limit; 130 interrupted."
)


class Commands(Group):
    """Looks up a command here first, then among those of installed distributions."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command. A command of the service is refused where the service is not installed."""
        found = super().get_command(ctx, cmd_name) or added_commands().get(cmd_name)
        if found is None and cmd_name in SERVICE_COMMANDS and not ctx.resilient_parsing:
            refuse(f"{cmd_name} is a command of the service: pip install nnmass-service")
        return found

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *added_commands()]


@cache
def added_commands() -> dict[str, Any]:
    """Return the commands of installed distributions, by their names."""
    from importlib.metadata import entry_points

    found: dict[str, Any] = {}
    for point in entry_points(group=ENTRY_POINTS):
        group = typer.main.get_command(point.load())
        assert isinstance(group, TyperGroup)
        found |= group.commands
    return found


def command_line(group: type[Group]) -> CommandLine:
    """Return the library's commands in a group of the given kind."""
    line = CommandLine(cls=group, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
    line.callback()(nnmass)
    line.command(epilog=EXIT_CODES)(search.search)
    line.command(epilog=EXIT_CODES)(search.scale)
    line.command(epilog=EXIT_CODES)(search.compress)
    line.command("next", epilog=EXIT_CODES)(search.next_ranks)
    line.command()(search.presets)
    line.command()(search.devices)
    line.command()(calibrate.calibrate)
    line.command()(networks.evaluate)
    line.command()(networks.export)
    line.command()(networks.diagram)
    line.command(epilog=EXIT_CODES)(training.verify)
    line.command()(training.exclude)
    line.command()(training.evidence)
    line.command()(training.upload)
    line.command(epilog=EXIT_CODES)(campaigns.campaign)
    line.command()(history.history)
    line.command()(history.show)
    line.add_typer(deletion.app, name="delete")
    line.command()(version)
    return line


def version() -> None:
    """Print the version."""
    from nnmass_core import __version__

    typer.echo(__version__)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        version()
        raise typer.Exit


def nnmass(
    *,
    version: Annotated[  # its callback handles it
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Which neural network fits my hardware? Exact architecture search around NN-Mass.

    `nnmass search --preset densenet-cifar --max-params 1M --max-macs 150M` searches on this machine. `nnmass serve`,
    from the distribution nnmass-service, runs the service, which stores results and trains networks.
    """


app = command_line(Commands)


def main() -> None:
    """Run the command line."""
    app()

"""The command line's reference, generated from its help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from scripts.reference.text import code, one_line, page, prose, table

ABOUT = """Every command, its arguments and its options, from the program's own help: `nnmass COMMAND --help` says the
same. [The command line](../command-line.md) shows how they are used."""

PROGRAM = "nnmass"


class Command(NamedTuple):
    """One command with its full name, such as `nnmass keys create`. context: typer's, which has its parameters."""

    name: str
    context: Any

    @property
    def anchor(self) -> str:
        """The command's anchor on the page."""
        return self.name.replace(" ", "-")


def commands() -> list[Command]:
    """Return every command that is not hidden."""
    import typer

    from app.cli import app

    return list(_below(typer.main.get_command(app), PROGRAM, None))


def _below(command: Any, name: str, parent: Any) -> Iterator[Command]:
    """Yield a command, or the commands of a group."""
    context = command.make_context(name.rsplit(" ", 1)[-1], [], parent=parent, resilient_parsing=True)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield Command(name, context)
        return
    for word, member in inner.items():
        if not member.hidden:
            yield from _below(member, f"{name} {word}", context)


def commands_page() -> str:
    """Return the page."""
    found = commands()
    rows = ((f"[{code(one.name)}](#{one.anchor})", _first_line(one)) for one in found)
    return page("# Command line", ABOUT, table(("command", ""), rows), *map(_section, found))


def _first_line(command: Command) -> str:
    return one_line((command.context.command.help or "").split("\n\n")[0])


def _section(command: Command) -> str:
    own = command.context.command
    return page(
        f"## {code(command.name)} {{ #{command.anchor} }}",
        prose(own.help or ""),
        f"```text\n{own.get_usage(command.context).removeprefix('Usage: ')}\n```",
        table(("parameter", "meaning"), _parameters(command)),
        prose(own.epilog or ""),
    )


def _parameters(command: Command) -> Iterator[tuple[str, str]]:
    for parameter in command.context.command.get_params(command.context):
        record = parameter.get_help_record(command.context)
        if record is not None and parameter.name != "help":
            yield code(record[0]), one_line(record[1])

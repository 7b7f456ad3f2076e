"""Commands that show the searches of a service."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from nnmass.cli.exit_codes import exit_on_error
from nnmass.cli.options import Json, KeyFile, Server, client_of


def history(
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of searches.")] = 20,
    status: Annotated[
        str | None, typer.Option(help="Only with this status: queued, running, succeeded, failed or cancelled.")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(help="Only with this outcome: proved, not_proved, nothing_fits or nothing_found."),
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only of this network family.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only with this tag.")] = None,
    text: Annotated[str | None, typer.Option("--text", "-q", help="Only with this text in the name or note.")] = None,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """List the searches of a service, newest first."""
    from nnmass.cli.printing import print_json, print_searches

    with exit_on_error(), client_of(server, key_file) as client:
        searches = client.history(status=status, outcome=outcome, family=family, tag=tag, q=text)
        found = list(islice(searches, limit))
    if as_json:
        print_json({"items": [dict(search.raw) for search in found]})
    else:
        print_searches(found)


def show(
    search_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the search.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Show a search: its ranking and proof, or its progress."""
    from nnmass.cli.printing import print_answer, print_json, print_searches

    with exit_on_error(), client_of(server, key_file) as client:
        search = client.get(search_id)
        answer = client.answer(search) if search.result is not None else None
    if as_json:
        print_json(dict(search.raw) | {"ranking": [] if answer is None else [dict(item.raw) for item in answer]})
    elif answer is not None:
        print_answer(answer)
    else:
        print_searches([search])
        typer.echo(search.progress.message if search.error is None else search.error.message)

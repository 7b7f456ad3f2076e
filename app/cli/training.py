"""Trainings through a service: what was chosen, beside controls of equal cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.ending import FAILED, ending, refuse
from app.cli.inputs import network_in
from app.cli.options import Json, KeyFile, Server, client_of

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.results import Event
    from nnmass.trainings import Batch, Verification


def verify(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK|SEARCH", help="A search's id, a network's arch_id, a JSON definition's file, or a name."
        ),
    ],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="What to train on: mnist-5k, cifar10, ...")],
    recipe: Annotated[str, typer.Option(metavar="NAME", help="How: mlp-paper, cifar-quick, ...")],
    top: Annotated[int | None, typer.Option(metavar="K", help="How many of a search's ranking; 1 if left out.")] = None,
    controls: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Controls beside each of a search: params, random, both by comma, none."),
    ] = "params,random",
    seeds: Annotated[str, typer.Option(metavar="NUMBERS", help="One training each, by comma.")] = "0",
    server: Server = None,
    key_file: KeyFile = None,
    *,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the epochs until all have ended.")] = True,
    as_json: Json = False,
) -> None:
    """Train a network, or the best of a search beside controls of equal cost, and print NN-Mass next to the accuracy.

    The service does it (http://127.0.0.1:8000 unless --server names another), on a worker that has torch.
    """
    from nnmass.client.verifications import is_search

    with ending(), client_of(server, key_file) as client:
        network = what if what.startswith("arch_") or is_search(what) else network_in(what)
        beside = [name.strip() for name in controls.split(",") if name.strip() not in ("", "none")]
        batch = client.verify(
            network,
            dataset=dataset,
            recipe=recipe,
            top=top,
            controls=beside,
            seeds=_numbers(seeds),
            artifacts=("weights",),
        )
        ended = _followed(client, batch) if wait else list(batch.items)
        statement = client.evidence(dataset=dataset).statement if wait else ""
    _print(batch, ended, statement, as_json=as_json)
    if any(training.ended and training.status != "succeeded" for training in ended):
        raise typer.Exit(FAILED)


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        refuse("--seeds must be whole numbers, separated by commas")


def _followed(client: Client, batch: Batch) -> list[Verification]:
    """Wait for trainings, a bar for each, in the order in which workers take them."""
    from app.cli.progress import Bar

    with Bar() as bar:

        def told(training: Verification) -> Any:
            name = training.role.replace("_", " ")
            rank = f" {training.candidate_rank}" if training.candidate_rank is not None else ""
            return lambda event: bar.show(name + rank, event.fraction, _said(event))

        try:
            return [client.wait_verification(training, progress=told(training)) for training in batch.items]
        except KeyboardInterrupt:
            ids = " ".join(training.id for training in batch.items)
            typer.echo(f"nnmass: the service goes on with them: {ids}", err=True)
            raise


def _said(event: Event) -> str:
    if event.epoch is None:
        return event.message
    return f"{event.message}, test accuracy {event.epoch['test_accuracy']:.3f}"


def _print(batch: Batch, ended: list[Verification], statement: str, *, as_json: bool) -> None:
    from app.cli.printing import print_json, print_trainings

    if as_json:
        items = [dict(training.raw) for training in ended]
        print_json({"items": items, "missing_controls": list(batch.missing_controls), "statement": statement})
        return
    print_trainings(ended)
    for missing in batch.missing_controls:
        typer.echo(f"No {missing['control']} control for rank {missing['candidate_rank']}: {missing['message']}")
    if statement:
        typer.echo(f"Evidence: {statement}")

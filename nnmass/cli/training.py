"""Training commands of a service: train selected networks with controls of equal cost, and read the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnmass.cli.exit_codes import FAILED, exit_on_error, refuse
from nnmass.cli.inputs import json_in, network_in, points_in
from nnmass.cli.options import Json, KeyFile, Server, client_of, note_missing, note_place

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.results import Event
    from nnmass.trainings import Batch, Verification

CONTROLS = ("params", "random")
"""The controls that are trained by default."""


def verify(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK|SEARCH",
            help="Id of a search, arch_id of a network, file with a JSON definition, or known name.",
        ),
    ],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Dataset: mnist-5k, cifar10, ...; or a JSON file.")],
    recipe: Annotated[str, typer.Option(metavar="NAME", help="Recipe: mlp-paper, cifar-quick, ...; or a JSON file.")],
    top: Annotated[
        int | None, typer.Option(metavar="K", help="Number of networks of a search's ranking (default: 1).")
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Controls for each network of a search, comma-separated: params, macs, random, near_budget; or none "
            "(default: params,random).",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="NUMBERS", help="Comma-separated seeds; one training each.")] = "0",
    server: Server = None,
    key_file: KeyFile = None,
    *,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt/--no-adapt", help="Adapt a recipe that makes fewer than 20 steps an epoch on this dataset."
        ),
    ] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show progress until all trainings end.")] = True,
    as_json: Json = False,
) -> None:
    """Train a network, or the best networks of a search together with controls.

    Controls are networks of equal cost, or at random near the budget. The table shows NN-Mass, params and MACs next to
    each accuracy.

    A worker with torch trains them, in the service at --server (default: http://127.0.0.1:8000).
    """
    from nnmass.client.verifications import is_search

    with exit_on_error(), client_of(server, key_file) as client:
        of_search = is_search(what)
        network = what if of_search or what.startswith("arch_") else network_in(what)
        batch = client.verify(
            network,
            dataset=named(dataset, "--dataset"),
            recipe=named(recipe, "--recipe"),
            adapt=adapt,
            top=top,
            controls=_controls(controls, of_search=of_search),
            seeds=numbers_of(seeds),
        )
        if batch.items[0].warning:
            typer.echo(f"nnmass: {batch.items[0].warning}", err=True)
        if wait:
            note_missing(client, "train_worker")
            note_place(batch.items[0])
        ended = _followed(client, batch) if wait else list(batch.items)
        statement = _evidence(client, ended[0]) if wait else ""
    _print(batch, ended, statement, client.url, as_json=as_json)
    if any(training.ended and training.status != "succeeded" for training in ended):
        raise typer.Exit(FAILED)


def exclude(
    verification_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of trainings.")],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Take them back into the evidence.")] = False,
) -> None:
    """Take trainings out of the evidence without deleting them."""
    with exit_on_error(), client_of(server, key_file) as client:
        for verification_id in verification_ids:
            client.exclude(verification_id, excluded=not undo)
            typer.echo(f"{'back in' if undo else 'out of'} the evidence: {verification_id}")


def evidence(
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Only trainings on this dataset.")] = None,
    recipe: Annotated[str | None, typer.Option(metavar="NAME", help="Only trainings with this recipe.")] = None,
    family: Annotated[str | None, typer.Option(metavar="NAME", help="Only networks of this family.")] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Your column to use as accuracy (default: the test accuracy of trainings)."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write the points to this CSV file.")
    ] = None,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    adapted: Annotated[
        bool | None, typer.Option("--adapted/--not-adapted", help="Only recipes adapted to few images, or the others.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how well NN-Mass, params, MACs and your own columns order the accuracies of networks.

    `nnmass upload` stores columns of your own.
    """
    from nnmass.cli.printing import print_evidence, print_json, write_file

    filters: Any = {"dataset": dataset, "recipe": recipe, "family": family, "adapted": adapted, "accuracy": accuracy}
    with exit_on_error({"accuracy": "--accuracy"}), client_of(server, key_file) as client:
        found = client.evidence(**filters)
        table = client.evidence_csv(**filters) if output is not None else ""
    if output is not None:
        write_file(output, table.encode())
    if as_json:
        print_json(dict(found.raw))
    else:
        print_evidence(found)


def upload(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV file with a column arch_id or network (a known name), if you like name, and one column for each "
            "figure; or JSON, as POST /v1/evidence/points takes it (- for stdin).",
        ),
    ],
    server: Server = None,
    key_file: KeyFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Store figures beside networks: another proxy, or an accuracy that you measured.

    `nnmass evidence` compares them with NN-Mass, params and MACs. A figure replaces an earlier one of the same network
    and column.
    """
    from nnmass.cli.printing import print_json

    points = points_in(file)
    with exit_on_error(), client_of(server, key_file) as client:
        stored = client.upload_points(points)
    if as_json:
        print_json({"items": [dict(point.raw) for point in stored]})
    else:
        names = ", ".join(sorted({name for point in stored for name in point.columns}))
        typer.echo(f"stored figures beside {len(stored):,} network{'s' if len(stored) != 1 else ''}; columns: {names}")


def _controls(names: str | None, *, of_search: bool) -> list[str]:
    if names is None:
        return list(CONTROLS) if of_search else []
    return [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]


def named(text: str, option: str) -> Any:
    """Return a name unchanged, or the content of a JSON file."""
    return json_in(text, option) if text.endswith(".json") else text


def numbers_of(text: str) -> list[int]:
    """Return the seeds of an option."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        refuse("--seeds must be whole numbers, separated by commas")


def _followed(client: Client, batch: Batch) -> list[Verification]:
    """Wait for trainings, with a bar for each, in the order in which workers take them."""
    from nnmass.cli.progress import Bar

    with Bar() as bar:

        def progress_of(training: Verification) -> Any:
            name = training.role.replace("_", " ")
            rank = f" {training.candidate_rank}" if training.candidate_rank is not None else ""
            return lambda event: bar.show(name + rank, event.fraction, _said(event))

        try:
            return [client.wait_verification(training, progress=progress_of(training)) for training in batch.items]
        except KeyboardInterrupt:
            ids = " ".join(training.id for training in batch.items)
            typer.echo(f"nnmass: the trainings continue in the service: {ids}", err=True)
            raise


def _evidence(client: Client, training: Verification) -> str:
    """Return the evidence statement for all trainings on the same data set with the same recipe, adapted or not."""
    adapted = training.adaptation is not None
    return client.evidence(dataset=training.dataset["name"], recipe=training.recipe_digest, adapted=adapted).statement


def _said(event: Event) -> str:
    if event.epoch is None:
        return event.message
    part = "test" if event.epoch.get("validation_accuracy") is None else "validation"
    return f"{event.message}, {part} accuracy {event.epoch[f'{part}_accuracy']:.3f}"


def _print(batch: Batch, ended: list[Verification], statement: str, url: str, *, as_json: bool) -> None:
    from nnmass.cli.printing import notes_of, print_data, print_json, print_places, print_trainings

    if as_json:
        items = [dict(training.raw) for training in ended]
        print_json({"items": items, "missing_controls": list(batch.missing_controls), "statement": statement})
        return
    print_trainings(ended)
    print_places(ended, url)
    print_data(ended)
    for line in notes_of(ended):
        typer.echo(line)
    for missing in batch.missing_controls:
        typer.echo(f"No {missing['control']} control for rank {missing['candidate_rank']}: {missing['message']}")
    if statement:
        typer.echo(f"Evidence: {statement}")
    if ended and ended[0].status == "succeeded":
        typer.echo(f"Next: nnmass export {ended[0].id} --seed {ended[0].seeds[0]} --format onnx -o model.onnx")

"""The command of campaigns: train a few networks of a search's question, and print the best that was measured."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnmass.cli.exit_codes import FAILED, OPTIONS, exit_on_error
from nnmass.cli.options import (
    NO_LIMITS,
    BudgetBatch,
    BudgetPrecision,
    Device,
    Exclude,
    Json,
    KeyFile,
    Limits,
    Maximize,
    Minimize,
    Server,
    TimeLimit,
    client_of,
    note_missing,
    note_place,
    with_limits,
)
from nnmass.cli.search import SECONDS, SpendOption, aimed, networks_of, objective_of, space_of, spend_of
from nnmass.cli.training import named, numbers_of
from nnmass_core.costs import LEAST_MASS, costs_by_floor, costs_by_limit

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.trainings import Campaign


class Strategy(StrEnum):
    """How networks are chosen."""

    PLANNED = "spread-fit-confirm"
    TOP = "top"
    RANDOM = "random"


@with_limits
def campaign(
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Dataset: mnist-5k, cifar10, ...; or a JSON file.")],
    recipe: Annotated[str, typer.Option(metavar="NAME", help="Recipe: mlp-paper, cifar-quick, ...; or a JSON file.")],
    preset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Named space (see `nnmass presets`); may be repeated."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="File with a JSON definition of the space (- for stdin); may be repeated."),
    ] = None,
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="spread-fit-confirm: half of them spread near the budget, the others where models of the results "
            "expect the most. top: those that a search ranks first. random: at random near the budget."
        ),
    ] = Strategy.PLANNED,
    trainings: Annotated[int, typer.Option(metavar="N", help="Number of networks to train.")] = 16,
    confirm: Annotated[int, typer.Option(metavar="N", help="Number of further seeds of the best network.")] = 3,
    rounds: Annotated[int, typer.Option(metavar="N", help="Number of rounds.")] = 5,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the training images that is held out to choose networks by (default: the recipe's, or 0.1); "
            "at 0 the test accuracy chooses.",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="NUMBERS", help="Comma-separated seeds of each network.")] = "0",
    limits: Limits = NO_LIMITS,
    device: Device = None,
    precision: BudgetPrecision = None,
    batch: BudgetBatch = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    spend: SpendOption = None,
    exclude: Exclude = None,
    time_limit: TimeLimit = SECONDS,
    server: Server = None,
    key_file: KeyFile = None,
    *,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt/--no-adapt", help="Adapt a recipe that makes fewer than 20 steps an epoch on this dataset."
        ),
    ] = True,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show progress until the campaign ends.")] = True,
    as_json: Json = False,
) -> None:
    """Train a few networks within a budget in rounds, and print the best that was measured.

    Networks that were trained before on this data by this recipe are free. The best network is trained at further seeds
    in the end, which have no part in choosing it.

    A worker with torch trains them, in the service at --server (default: http://127.0.0.1:8000).
    """
    with exit_on_error(_names()), client_of(server, key_file) as client:
        where = space_of(preset or [], space or [], None, None, None, None, within=limits["within"] is not None)
        objective = objective_of(minimize, maximize, limits[LEAST_MASS], None)
        options: Any = aimed(objective, limits, device, precision, batch)
        options |= {"spend": None} | spend_of(spend, none=False)
        options |= {"exclude": networks_of(exclude or []), "time_limit_seconds": time_limit}
        made = client.campaign(
            where,
            dataset=named(dataset, "--dataset"),
            recipe=named(recipe, "--recipe"),
            strategy=strategy.value,
            trainings=trainings,
            confirm=confirm,
            rounds=rounds,
            validation=validation,
            seeds=numbers_of(seeds),
            adapt=adapt,
            **options,
        )
        ended = _followed(client, made) if wait else made
    _print(ended, as_json=as_json)
    if ended.ended and ended.status != "succeeded":
        raise typer.Exit(FAILED)


def _names() -> dict[str, str]:
    """Return the options that set the fields of the question, which the campaign has as `search`."""
    limits = {f"budget.{name}": cost.option for name, cost in costs_by_limit().items()}
    limits |= {f"budget.{name}": cost.floor_option for name, cost in costs_by_floor().items()}
    own = {name: f"--{name}" for name in ("trainings", "confirm", "rounds", "strategy", "validation")}
    return own | {f"search.{field}": option for field, option in (OPTIONS | limits).items()}


def _followed(client: Client, made: Campaign) -> Campaign:
    """Wait for a campaign, with a bar."""
    from nnmass.cli.progress import Bar

    if made.warning:
        typer.echo(f"nnmass: {made.warning}", err=True)
    note_missing(client, "train_worker")
    note_place(made)
    with Bar() as bar:
        try:
            return client.wait_campaign(made, progress=bar)
        except KeyboardInterrupt:
            typer.echo(f"nnmass: the campaign continues in the service: {made.id}", err=True)
            raise


def _print(ended: Campaign, *, as_json: bool) -> None:
    from nnmass.cli.printing import print_campaign, print_json

    if as_json:
        print_json(dict(ended.raw))
        return
    print_campaign(ended)
    if ended.result is None:
        typer.echo(f"campaign {ended.id}: {ended.progress.message if ended.error is None else ended.error.message}")
        return
    typer.echo(ended.result.statement)
    best = ended.result.best
    if best is not None and best["verification"] is not None:
        typer.echo(f"Next: nnmass export {best['verification']} --seed {ended.seeds[0]} --format onnx -o model.onnx")

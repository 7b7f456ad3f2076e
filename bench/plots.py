"""Plots of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.tables import NAMES, exponent, options_per_cell

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "nnmass"

from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)
from matplotlib.lines import Line2D  # noqa: E402

COLORS = {
    "ours": "#0b6e4f",
    "cp_sat": "#c1440e",
    "highs": "#6a4c93",
    "tpe": "#1f77b4",
    "nsga2": "#e0a100",
    "random_search": "#777777",
}


def plot_cases(cases: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Draw the best value against time for each method, one panel per case; a dot ends a proof."""
    columns = 3
    rows = -(-len(cases) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(13, 3.6 * rows), squeeze=False, layout="constrained")
    for panel, (case, answers) in zip(panels.flat, cases.items(), strict=False):
        best = answers["ours"]["value"]
        for method, color in COLORS.items():
            answer = answers[method]
            points = [(seconds, 100 * value / best) for seconds, value in answer["trace"]]
            if not points:
                continue
            points.append((answer["seconds"], points[-1][1]))
            seconds, shares = zip(*points, strict=True)
            panel.step(seconds, shares, where="post", color=color, label=NAMES[method], linewidth=1.6)
            if answer["proved"]:
                panel.plot(answer["seconds"], shares[-1], "o", color=color)
        panel.set(xscale="log", ylim=(55, 101.5), title=case, xlabel="seconds", ylabel="NN-Mass, % of the optimum")
        panel.grid(alpha=0.3)
    lines = [Line2D([], [], color=color, label=NAMES[method]) for method, color in COLORS.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=9)
    figure.suptitle("Best network found against time, one core (a dot: proved optimal)")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_growth(growth: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw time against the size of the space and against the options per cell, on log axes."""
    sizes = [int(answer["more"]["space_size"]) for answer in growth.values()]
    options = [options_per_cell(case) for case in growth]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for key, label, color in (("setup_seconds", "new space", "#c1440e"), ("seconds", "tables cached", "#0b6e4f")):
        seconds = [answer[key] for answer in growth.values()]
        left.plot(sizes, seconds, "o-", color=color, label=label)
        right.plot(options, seconds, "o-", color=color, label=f"{label}: power {exponent(growth, key):.2f}")
    linear = [growth[next(iter(growth))]["seconds"] * n / options[0] for n in options]
    right.plot(options, linear, ":", color="#777777", label="linear growth")
    left.set(xscale="log", yscale="log", xlabel="architectures in the space", ylabel="seconds, one core")
    right.set(xscale="log", yscale="log", xlabel="options a cell", ylim=left.get_ylim())
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.suptitle("Exact search of four cells, top 10, middling budget")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_stages(stages: dict[str, Any], path: Path) -> None:
    """Draw time against the number of stages, ours and that of solvers; a hollow mark ran out of time."""
    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    labels = {"now": f"{NAMES['ours']} (tables cached)", "cp_sat": NAMES["cp_sat"], "highs": NAMES["highs"]}
    for column, label in labels.items():
        points = [(int(number), found[column]) for number, found in stages.items() if column in found]
        color = COLORS["ours" if column == "now" else column]
        panel.plot([n for n, _ in points], [one["seconds"] for _, one in points], "-", color=color, label=label)
        for number, one in points:
            panel.plot(number, one["seconds"], "o", color=color, fillstyle="full" if one["proved"] else "none")
    panel.set(yscale="log", xlabel="stages", ylabel="seconds of processor time")
    panel.set_xticks([int(number) for number in stages])
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    figure.suptitle("Most NN-Mass of mobilenet_v2 spaces (hollow: not proved within the limit)")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

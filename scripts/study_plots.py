"""The study's plots: test accuracy against NN-Mass, params and MACs, with the fitted line and its prediction band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from nnmass_core.verification.evidence import Line

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "nnmass"

from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)
from matplotlib.ticker import EngFormatter, MaxNLocator  # noqa: E402

COLOR = "#0b6e4f"
LABELS = {"nn_mass": "NN-Mass", "params": "params", "macs": "MACs"}
ROLES = {
    "candidate": ("most NN-Mass", "o", COLOR),
    "params_control": ("control by params", "s", "#c1440e"),
    "random_control": ("control at random", "^", "#777777"),
}


def plot_grid(networks: list[dict[str, Any]], overall: dict[str, Any], line: Line | None, path: Path) -> None:
    """Draw a grid: one panel per measure, error bars of one standard deviation over seeds.

    networks: with the measures, `depth`, and `accuracy` as in verifications. overall: the evidence's correlations.
    """
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), sharey=True, layout="constrained")
    accuracy = [item["accuracy"]["mean"] for item in networks]
    depths = [item["depth"] for item in networks]
    spread = [item["accuracy"]["std"] or 0.0 for item in networks]
    for panel, (name, label) in zip(panels, LABELS.items(), strict=True):
        values = [item[name] for item in networks]
        if any(spread):
            panel.errorbar(values, accuracy, yerr=spread, fmt="none", ecolor="#bbbbbb", elinewidth=1, zorder=1)
        dots = panel.scatter(values, accuracy, c=depths, s=26, zorder=2)
        panel.set(xlabel=label, title=f"Spearman {_value(overall[name]['spearman'])}")
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="test accuracy")
    for panel in panels[1:]:
        panel.xaxis.set(major_locator=MaxNLocator(5, steps=[1, 2, 5, 10]), major_formatter=EngFormatter(sep=""))
    _log_axis(panels[0], [item["nn_mass"] for item in networks])
    if line is not None:
        _draw_line(panels[0], line)
    figure.colorbar(dots, ax=panels, label="layers (of a cell)")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _value(figure: dict[str, Any]) -> str:
    return "undefined" if figure["value"] is None else f"{figure['value']:+.2f}"


def _log_axis(panel: Any, masses: list[float]) -> None:
    """Make the axis logarithmic, with a separate place at the left end for an NN-Mass of 0."""
    panel.set_xlabel("NN-Mass, log axis")
    positive = sorted({mass for mass in masses if mass > 0})
    if min(masses) > 0:
        panel.set_xscale("log")
        return
    panel.set_xlabel("NN-Mass, log axis (and 0)")
    panel.set_xscale("symlog", linthresh=positive[0] / 1.3, linscale=0.4)
    ticks = [0.0, *np.geomspace(positive[0], positive[-1], 4)]
    panel.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.set_xlim(-positive[0] / 4, positive[-1] * 1.25)


def _draw_line(panel: Any, line: Line) -> None:
    masses = np.geomspace(line.least_mass, line.most_mass, 60)
    middle = line.intercept + line.slope * np.log(masses)
    half = np.array([line.half_width(float(x)) for x in np.log(masses)])
    panel.plot(masses, middle, color=COLOR, linewidth=1.5, label="fitted line")
    panel.fill_between(masses, middle - half, middle + half, color=COLOR, alpha=0.12, label="95 % prediction")
    panel.legend(fontsize=8, loc="lower right")


def plot_optimum(searches: list[dict[str, Any]], path: Path) -> None:
    """Draw the candidates of each search and their controls. searches: with `name` and `networks`."""
    figure, panels = plt.subplots(1, len(searches), figsize=(11, 3.8), squeeze=False, layout="constrained")
    for panel, search in zip(panels[0], searches, strict=True):
        for place, (role, (label, marker, color)) in enumerate(ROLES.items()):
            members = [item for item in search["networks"] if item["role"] == role]
            places = [item["candidate_rank"] + 0.18 * (place - 1) for item in members]
            means = [item["accuracy"]["mean"] for item in members]
            spread = [item["accuracy"]["std"] or 0.0 for item in members]
            panel.errorbar(places, means, yerr=spread, fmt=marker, color=color, capsize=2, label=label)
        ranks = sorted({item["candidate_rank"] for item in search["networks"]})
        panel.set(xlabel="rank", ylabel="test accuracy", title=search["name"], xticks=ranks)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

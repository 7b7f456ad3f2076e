"""The shortfalls of the replay as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

import bench.plots  # noqa: F401 - it chooses the backend
from bench.campaigns.replays import CAMPAIGN
from bench.campaigns.tables import shortfall

# untyped: results, as JSON holds them

COLORS = ("#0b6e4f", "#777777", "#c1440e", "#e0a100", "#6a4c93", "#1f77b4", "#17becf", "#8c564b")


def plot_shortfall(results: dict[str, Any], path: Path) -> None:
    """Draw the mean shortfall of each way against the number of trainings."""
    trainings = results["trainings"]
    ways = {name: way for name, way in results["ways"].items() if not name.startswith(f"{CAMPAIGN}, ")}
    figure, panel = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for (name, way), color in zip(ways.items(), COLORS, strict=False):
        points = [shortfall(way, str(number)) for number in trainings]
        panel.plot(trainings, points, "o-", color=color, label=name, linewidth=2.4 if name == CAMPAIGN else 1.4)
    panel.set(xscale="log", yscale="log", xlabel="trainings", ylabel="points below the best network of the budget")
    panel.set_xticks(trainings, [str(number) for number in trainings], minor=False)
    panel.minorticks_off()
    panel.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    panel.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.suptitle("Mean of six benchmarks, nine budgets each")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

"""LDI at initialization against NN-Mass, params and MACs, on real digits (`python -m bench.ldi`, extra `train`).

MLPs of width 8, as the publication's: depths 16 to 32, skip channels 0 to 12, five initializations each, no training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.training.data import inputs
from nnmass_core.training.ldi import measure_ldi

RESULTS = Path(__file__).parent / "results"
DEPTHS, SKIPS, ACTIVATIONS = range(16, 33, 4), range(0, 13, 2), ("relu", "elu")
SEEDS, SAMPLES, WIDTH = tuple(range(5)), 16, 8


def measure(activation: str) -> list[dict[str, Any]]:
    """Return one row per network: its figures and its LDI."""
    rows: list[dict[str, Any]] = []
    for depth in DEPTHS:
        for skips in SKIPS:
            network = DenseNetMlp(
                in_features=784, num_classes=10, width=WIDTH, depth=depth, skip_channels=skips, activation=activation
            )
            images = inputs("mnist-5k", network, SAMPLES, RESULTS)
            found = measure_ldi(network, images, SEEDS, lambda fraction, message: None)
            rows.append({"activation": activation, "depth": depth, "skip_channels": skips, **found})
    return rows


def correlations(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return Spearman's rank correlation of LDI with each figure."""
    ldi = [row["mean"] for row in rows]
    return {
        name: float(spearmanr(ldi, [row[name] for row in rows]).statistic) for name in ("nn_mass", "params", "macs")
    }


def plot(by_activation: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw LDI against NN-Mass and against params, one row per activation."""
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(len(by_activation), 2, figsize=(10, 3.6 * len(by_activation)), layout="constrained")
    for row, (activation, rows) in zip(panels, by_activation.items(), strict=True):
        found = correlations(rows)
        for panel, name, label in zip(row, ("nn_mass", "params"), ("NN-Mass", "params"), strict=True):
            dots = panel.scatter([r[name] for r in rows], [r["mean"] for r in rows], c=[r["depth"] for r in rows], s=22)
            panel.set(xlabel=label, ylabel="LDI", title=f"{activation}: Spearman {found[name]:.2f}")
            panel.grid(alpha=0.3)
        figure.colorbar(dots, ax=row, label="depth")
    figure.suptitle("Mean singular value of the layers at initialization: width-8 MLPs, MNIST digits")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure, write and print."""
    RESULTS.mkdir(exist_ok=True)
    by_activation = {activation: measure(activation) for activation in ACTIVATIONS}
    found = {activation: correlations(rows) for activation, rows in by_activation.items()}
    for activation, values in found.items():
        shown = ", ".join(f"{name} {value:+.3f}" for name, value in values.items())
        print(f"{activation}: Spearman of LDI over {len(by_activation[activation])} networks with {shown}")
    (RESULTS / "ldi.json").write_text(json.dumps({"spearman": found, "rows": by_activation}, indent=1) + "\n")
    plot(by_activation, RESULTS / "ldi.svg")


if __name__ == "__main__":
    main()

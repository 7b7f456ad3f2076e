"""The pictures of docs/idea.md, drawn by the library itself: `python -m scripts.pictures` writes docs/pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.certificate import SearchResult
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.request import Maximize, Pareto, SearchRequest
from nnmass_core.search import search

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

MLP = {"family": "densenet_mlp", "in_features": 784, "num_classes": 10, "width": 8, "activation": "relu"}
DEPTHS, SKIP_CHANNELS = range(16, 33), range(13)
"""The space of the publication's MLPs on MNIST: one width, 17 depths, 13 values of t_c."""

MOST_PARAMS = 8_500

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 40, 52
STYLE = """
.sheet{fill:#fff}.grid{stroke:#d8dee4}.edge{stroke:#bf6a02;stroke-width:1.5;stroke-dasharray:5 4}.dot{fill:#8c959f}
.front{fill:none;stroke:#0969da;stroke-width:1.5}.on{fill:#0969da}.best{fill:#bf6a02}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}.quiet{fill:#59636e}
.title{font-size:14px;font-weight:600}
@media (prefers-color-scheme:dark){.sheet{fill:#0d1117}.grid{stroke:#30363d}.edge{stroke:#e3a04a}.dot{fill:#6e7681}
.front{stroke:#58a6ff}.on{fill:#58a6ff}.best{fill:#e3a04a}text{fill:#e6edf3}.quiet{fill:#9198a1}}
"""


def pictures() -> dict[str, str]:
    """Return every picture as SVG text, by its file's name."""
    shallow, deep = two_cells(8, 80), two_cells(16, 64)
    assert shallow.evaluation.mass == deep.evaluation.mass, "the page says that they are equal"
    return {
        "density.svg": densities().diagram(),
        "equal-shallow.svg": shallow.diagram(),
        "equal-deep.svg": deep.diagram(),
        "front.svg": plot_of_front(),
    }


def densities() -> Architecture:
    """Return a network of three equal cells: with none, about half, and all of the skip connections."""
    return _network([(16, 8, skip_channels) for skip_channels in (0, 30, 96)])


def two_cells(depth: int, skip_channels: int) -> Architecture:
    """Return a network of two equal cells of width 16."""
    return _network(2 * [(16, depth, skip_channels)])


def _network(cells: Sequence[tuple[int, int, int]]) -> Architecture:
    image = {"channels": 3, "height": 32, "width": 32}
    keys = ("width", "depth", "skip_channels")
    parts = [dict(zip(keys, cell, strict=True)) for cell in cells]
    return decode_architecture({"family": "densenet_cnn", "input": image, "num_classes": 10, "cells": parts})


def all_networks() -> list[Architecture]:
    """Return every network of the plot's space."""
    pairs = ((depth, skip_channels) for depth in DEPTHS for skip_channels in SKIP_CHANNELS)
    return [decode_architecture({**MLP, "depth": depth, "skip_channels": t}) for depth, t in pairs]


def found(objective: Maximize | Pareto, budget: Budget) -> SearchResult:
    """Return the result of a search in the plot's space."""
    axes = {"depth": list(DEPTHS), "skip_channels": list(SKIP_CHANNELS)}
    return search(SearchRequest(space=decode_space(MLP | axes), budget=budget, objective=objective))


@dataclass(frozen=True)
class Axis:
    """An axis: from `least` to `most`, drawn from pixel `start` to pixel `end`."""

    least: float
    most: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.least) / (self.most - self.least) * (self.end - self.start)


X = Axis(7_000, 11_500, LEFT, WIDTH - RIGHT)
Y = Axis(0, 26, HEIGHT - BOTTOM, TOP)


def plot_of_front() -> str:
    """Draw NN-Mass against params: all networks, the front, a budget and the best within it."""
    front = found(Pareto(("params",)), Budget()).ranking
    best = found(Maximize(), Budget(max_params=MOST_PARAMS)).ranking[0].architecture
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
        f"<title>NN-Mass against params</title><style>{STYLE}</style>",
        f'<rect class="sheet" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="22">{len(all_networks())} MLPs of width 8: NN-Mass against params</text>',
        *_grid(),
        *(_dot("dot", network, 2.6) for network in all_networks()),
        _line([ranked.architecture for ranked in front]),
        *(_dot("on", ranked.architecture, 3.2) for ranked in front),
        *_budget(best),
        _label(X.at(11_410) + 14, Y.at(25), "t_c = 12"),
        _label(X.at(8_530) + 14, Y.at(0), "t_c = 0, depth 32"),
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _grid() -> Iterator[str]:
    for mass in range(0, 26, 5):
        y = Y.at(mass)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mass}</text>'
    for params in range(7_000, 12_000, 1_000):
        x = X.at(params)
        yield f'<text class="quiet" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{params:,}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="quiet" x="{middle:.1f}" y="{HEIGHT - 12}" text-anchor="middle">params</text>'
    yield f'<text class="quiet" x="{LEFT - 44}" y="{TOP - 6}">NN-Mass</text>'


def _place(network: Architecture) -> tuple[float, float]:
    return X.at(network.evaluation.params), Y.at(float(network.evaluation.mass))


def _dot(kind: str, network: Architecture, radius: float) -> str:
    x, y = _place(network)
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _line(networks: Sequence[Architecture]) -> str:
    points = " ".join("{:.1f},{:.1f}".format(*_place(network)) for network in networks)
    return f'<polyline class="front" points="{points}"/>'


def _budget(best: Architecture) -> Iterator[str]:
    x = X.at(MOST_PARAMS)
    yield f'<path class="edge" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
    yield _label(x + 6, TOP - 6, f"budget: {MOST_PARAMS:,} params")
    yield _dot("best", best, 6)


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y + 4:.1f}">{text}</text>'


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, picture in pictures().items():
        (FOLDER / name).write_text(picture)
        print(FOLDER / name)


if __name__ == "__main__":
    main()

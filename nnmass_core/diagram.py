"""A diagram of a network: one panel per cell or stage, its skip connections as arcs, as self-contained SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import sqrt

PANEL_WIDTH, PANEL_HEIGHT, GAP, MARGIN = 270, 246, 22, 24
PANELS_A_ROW = 4
HEADER = 62
BASELINE = 128
"""The position of a panel's layers, from its top."""

TALLEST_ARC, TALLEST_LAYER = 84, 30
MOST_LAYERS = 26
"""The most layers drawn one by one; deeper cells show every n-th, so that the diagram stays small and readable."""

STYLE = """
.sheet{fill:#fff}.panel{fill:#f6f8fa;stroke:#d0d7de}.layer{fill:#24603f}.arc{fill:none;stroke:#0969da;stroke-width:1.2}
.track{fill:#d8dee4}.share{fill:#bf6a02}.flow{stroke:#8c959f;stroke-width:1.5;fill:none}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}
.name{font-weight:600}.quiet{fill:#59636e}
@media (prefers-color-scheme:dark){.sheet{fill:#0d1117}.panel{fill:#161b22;stroke:#30363d}.layer{fill:#57ab7e}
.arc{stroke:#58a6ff}.track{fill:#30363d}.share{fill:#e3a04a}.flow{stroke:#6e7681}text{fill:#e6edf3}.quiet{fill:#9198a1}}
"""


@dataclass(frozen=True)
class Arc:
    """A skip connection between two layers (or block boundaries), numbered from 0.

    Args:
        start: The layer where it starts.
        end: The layer where it ends.
        strength: The share of its channels that it carries, in (0, 1].
    """

    start: int
    end: int
    strength: float


@dataclass(frozen=True)
class Panel:
    """One cell or stage.

    Args:
        name: The title of the panel.
        size: The text on the right of the title.
        channels: The channels of the output of each layer that is shown; arcs refer to these by number.
        arcs: The skip connections.
        lines: The text below the layers.
        mass: The NN-Mass of the cell or stage.
    """

    name: str
    size: str
    channels: tuple[int, ...]
    arcs: tuple[Arc, ...]
    lines: tuple[str, ...]
    mass: float


def shown(layers: int) -> list[int]:
    """Return the layers to draw: all, or for a deep cell every n-th, including the first and last.

    Args:
        layers: The number of layers of the cell.

    Returns:
        The numbers of the layers, from 0, ascending; at most 26.
    """
    count = min(layers, MOST_LAYERS)
    return sorted({round(i * (layers - 1) / max(count - 1, 1)) for i in range(count)})


def draw(title: str, subtitle: str, panels: Sequence[Panel]) -> str:
    """Return the diagram as SVG text without external references, for light and dark pages."""
    columns = min(len(panels), PANELS_A_ROW)
    rows = -(-len(panels) // PANELS_A_ROW)
    wide = max(columns, 2)  # room for the subtitle
    width = 2 * MARGIN + wide * PANEL_WIDTH + (wide - 1) * GAP
    height = HEADER + rows * (PANEL_HEIGHT + GAP) - GAP + MARGIN
    total = sum(panel.mass for panel in panels)
    widest = max((c for panel in panels for c in panel.channels), default=1)
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
        f"<desc>{escape(subtitle)}</desc>",
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="sheet" width="{width}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="30">{escape(title)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="49">{escape(subtitle)}</text>',
    ]
    for i, panel in enumerate(panels):
        x = MARGIN + (i % PANELS_A_ROW) * (PANEL_WIDTH + GAP)
        y = HEADER + (i // PANELS_A_ROW) * (PANEL_HEIGHT + GAP)
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _panel(panel, panel.mass / total if total else 0.0, widest)
        if i % PANELS_A_ROW < columns - 1 and i < len(panels) - 1:
            parts.append(f'<path class="flow" d="M{PANEL_WIDTH + 3} {BASELINE - 8}h{GAP - 8}m-5 -4l5 4l-5 4"/>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, share: float, widest: int) -> Iterator[str]:
    channels, arcs = panel.channels, panel.arcs
    step = (PANEL_WIDTH - 40) / max(len(channels), 1)
    middle = [20 + step * (i + 0.5) for i in range(len(channels))]
    yield f'<rect class="panel" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" rx="8"/>'
    yield f'<text class="name" x="12" y="20">{escape(panel.name)}</text>'
    yield f'<text class="quiet" x="{PANEL_WIDTH - 12}" y="20" text-anchor="end">{escape(panel.size)}</text>'
    heights = [4 + (TALLEST_LAYER - 4) * sqrt(count / widest) for count in channels]
    longest = max((arc.end - arc.start for arc in arcs), default=1)
    for arc in arcs:
        start, end = middle[arc.start], middle[arc.end]
        low, high = (BASELINE - heights[layer] - 2 for layer in (arc.start, arc.end))
        top = min(low, high) - 4 - TALLEST_ARC * (arc.end - arc.start) / longest
        yield (
            f'<path class="arc" stroke-opacity="{0.05 + 0.75 * arc.strength:.2f}"'
            f' d="M{start:.1f} {low:.1f}Q{(start + end) / 2:.1f} {top:.1f} {end:.1f} {high:.1f}"/>'
        )
    for x, tall in zip(middle, heights, strict=True):
        wide = min(step * 0.6, 12)
        yield (
            f'<rect class="layer" x="{x - wide / 2:.1f}" y="{BASELINE - tall:.1f}" width="{wide:.1f}"'
            f' height="{tall:.1f}" rx="1.5"/>'
        )
    for i, line in enumerate(panel.lines):
        yield f'<text x="12" y="{BASELINE + 26 + 18 * i}">{escape(line)}</text>'
    mass = f"NN-Mass {panel.mass:.1f}, {100 * share:.0f} % of the network"
    yield f'<text x="12" y="{PANEL_HEIGHT - 26}">{mass}</text>'
    for name, part in (("track", 1.0), ("share", share)):
        long = (PANEL_WIDTH - 24) * part
        yield f'<rect class="{name}" x="12" y="{PANEL_HEIGHT - 16}" width="{long:.1f}" height="6" rx="3"/>'

"""Costs and ranking of `densenet_cnn` worked out layer by layer, sharing no code with the product.

Slow and plain on purpose: it follows the words of the specification (layers, tensors and their last readers), not its
closed forms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

Cells = tuple[tuple[int, int, int], ...]
"""(width, depth, skip channels) of each cell."""


@dataclass
class Count:
    """Running totals while a network is walked."""

    params: int = 0
    macs: int = 0
    norm: int = 0
    indices: int = 0
    peak: int = 0
    live: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, elements: int) -> None:
        """Write a new tensor while everything alive stays alive."""
        self.live[name] = elements
        self.peak = max(self.peak, sum(self.live.values()))

    def batch_norm(self, channels: int) -> None:
        """Normalize in place."""
        self.params += 2 * channels
        self.norm += channels

    def conv(self, into: str, taps: int, w_in: int, w_out: int, positions: int) -> None:
        """Run a convolution without bias, 3x3 or of a signal."""
        self.params += taps * w_in * w_out
        self.macs += taps * w_in * w_out * positions
        self.write(into, w_out * positions)


def walk(image: tuple[int, int, int], classes: int, cells: Cells) -> Count:
    """Walk the whole network and count."""
    channels, height, width = image
    count = Count(live={"x": channels * height * width})
    for index, (w, d, t) in enumerate(cells):
        if index:
            height, width = (height + 1) // 2, (width + 1) // 2
        channels = _walk_cell(count, channels, w, d, t, height * width, 3 if 1 in image[1:] else 9)
    pooled = channels * (max(height, 2) // 2) * (max(width, 2) // 2)
    count.write("pooled", pooled)
    del count.live["x"]
    count.params += pooled * classes + classes
    count.macs += pooled * classes
    count.write("scores", classes)
    return count


def _walk_cell(count: Count, w_in: int, w: int, d: int, t: int, positions: int, taps: int) -> int:
    for j in range(d):
        taken = min(w * (j - 1), t) if j >= 2 else 0
        inputs = (w_in if j == 0 else w) + taken
        reads_later = any(min(w * (k - 1), t) for k in range(max(j + 1, 2), d))
        source = _prepare(count, j, taken, inputs * positions, reads_later=reads_later)
        count.indices += taken if taken < w * (j - 1) else 0
        if j >= 2:
            count.batch_norm(inputs)
        count.conv("next", taps, inputs, w, positions)
        if j < 2:
            count.batch_norm(w)
        if source != "x":
            count.live.pop(source)
        if "x" in count.live:
            was = count.live.pop("x")
            if j >= 1 and reads_later:
                count.live[f"out{j - 1}"] = was
        count.live["x"] = count.live.pop("next")
    return w


def _prepare(count: Count, j: int, taken: int, elements: int, *, reads_later: bool) -> str:
    """Write what a layer's convolution reads, if it is not the previous output itself; return its name."""
    if taken:
        count.write("concat", elements)
        if not reads_later:
            for name in [n for n in count.live if n.startswith("out") or n == "x"]:
                del count.live[name]
        return "concat"
    if j == 1 and reads_later:  # later layers read output 0 without the ReLU
        count.write("activated", elements)
        return "activated"
    return "x"


def nn_mass(cells: Cells) -> Fraction:
    """Return NN-Mass by summing links layer by layer."""
    total = Fraction(0)
    for w, d, t in cells:
        links = sum(min(w * (j - 1), t) for j in range(2, d))
        if d >= 3:
            total += Fraction(2 * d * links, (d - 1) * (d - 2))
    return total


def canonical(cells: Cells) -> Cells:
    """Return the cells with every surplus skip channel taken off."""
    return tuple((w, d, min(t, w * max(d - 2, 0))) for w, d, t in cells)

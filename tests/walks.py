"""Costs of depthwise and fully connected networks, written down step by step, sharing no code with the product.

A network becomes a list of steps, each reading some tensors and writing one; a tensor lives until its last reader is
done. Normalization and activation work in place and are no steps, except where their input is read again later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.oracle import Cells

Sources = Callable[[int, int], Sequence[int]]
"""The outputs of cell c that layer j samples from."""


def every_output(c: int, j: int) -> Sequence[int]:
    """Sample from all outputs that layer j may take channels of, as the closed forms of the peak assume."""
    return range(j - 1)


@dataclass
class Tape:
    """The steps of one network and what its layers hold."""

    params: int = 0
    macs: int = 0
    norm: int = 0
    indices: int = 0
    steps: list[tuple[str, list[str]]] = field(default_factory=list)
    elements: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, elements: int, reads: list[str]) -> str:
        """Write a new tensor from others."""
        self.steps.append((name, reads))
        self.elements[name] = elements
        return name

    def conv(
        self,
        name: str,
        source: str,
        kernel: int | tuple[int, int],
        w_in: int,
        w_out: int,
        positions: int,
        groups: int = 1,
        *,
        bias: bool = False,
    ) -> str:
        """Run a convolution, square where the kernel is a number."""
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        weights = height * width * (w_in // groups) * w_out
        self.params += weights + bias * w_out
        self.macs += weights * positions
        return self.write(name, w_out * positions, [source])

    def linear(self, name: str, source: str, w_in: int, w_out: int) -> str:
        """Run a fully connected layer with bias."""
        self.params += w_in * w_out + w_out
        self.macs += w_in * w_out
        return self.write(name, w_out, [source])

    def batch_norm(self, channels: int) -> None:
        """Normalize in place."""
        self.params += 2 * channels
        self.norm += channels

    def sample(self, taken: int, available: int) -> None:
        """Store the channel numbers of a layer that takes a part of the channels."""
        if 0 < taken < available:
            self.indices += taken

    @property
    def peak(self) -> int:
        """The most elements alive during any step."""
        last = {name: i for i, (_, reads) in enumerate(self.steps) for name in reads}
        alive = most = 0
        for i, (written, reads) in enumerate(self.steps):
            alive += self.elements[written]
            most = max(most, alive)
            alive -= sum(self.elements[name] for name in reads if last[name] == i)
        return most


def walk_dense(image: tuple[int, int, int], classes: int, cells: Cells, sampled: Sources = every_output) -> Tape:
    """Walk a `densenet_cnn`: a second formulation of the walk in tests.oracle."""
    return _walk_cnn(image, classes, cells, sampled, depthwise=False)


def walk_depthwise(image: tuple[int, int, int], classes: int, cells: Cells, sampled: Sources = every_output) -> Tape:
    """Walk a `densenet_cnn_depthwise`."""
    return _walk_cnn(image, classes, cells, sampled, depthwise=True)


def walk_mlp(
    features: int, classes: int, cells: Cells, sampled: Sources = every_output, *, batchnorm: bool = False
) -> Tape:
    """Walk a `densenet_mlp`. Activations and BatchNorm are in place: nobody reads their inputs later."""
    tape = Tape()
    source, inputs = tape.write("x", features, []), features
    for c, (width, depth, skips) in enumerate(cells):
        outputs: list[str] = []
        for j in range(depth):
            taken = min(width * (j - 1), skips) if j >= 2 else 0
            tape.sample(taken, width * (j - 1))
            if taken:
                name = f"concat {c}.{j}"
                source = tape.write(name, inputs + taken, [source, *(outputs[i] for i in sampled(c, j))])
            if j >= 2 and batchnorm:
                tape.batch_norm(inputs + taken)
            ends = c + 1 < len(cells) and j == depth - 1
            out = width if ends or j < depth - 1 else classes
            source = tape.linear(f"layer {c}.{j}", source, inputs + taken, out)
            outputs.append(source)
            if (j == 0 or ends) and batchnorm:
                tape.batch_norm(out)
            inputs = width
    return tape


def _walk_cnn(image: tuple[int, int, int], classes: int, cells: Cells, sampled: Sources, *, depthwise: bool) -> Tape:
    channels, height, width = image
    tape, before = Tape(), height * width
    kernel = (1 if height == 1 else 3, 1 if width == 1 else 3)
    source = tape.write("x", channels * before, [])
    for c, (w, d, t) in enumerate(cells):
        if c:
            height, width = (height + 1) // 2, (width + 1) // 2
        after = height * width
        outputs: list[str] = []
        for j in range(d):
            taken = min(w * (j - 1), t) if j >= 2 else 0
            inputs = (w if j else channels) + taken
            tape.sample(taken, w * (j - 1))
            if j == 1 and any(min(w * (k - 1), t) and 0 in sampled(c, k) for k in range(2, d)):
                source = tape.write(f"activated {c}", w * after, [source])  # output 0 is sampled without its ReLU
            if taken:
                reads = [source, *(outputs[i] for i in sampled(c, j))]
                source = tape.write(f"concat {c}.{j}", inputs * after, reads)
            if j >= 2:
                tape.batch_norm(inputs)
            if depthwise and (c or j):
                source = _separable(tape, f"{c}.{j}", source, inputs, w, after if j else before, after, kernel)
            else:
                source = tape.conv(f"{c}.{j}", source, kernel, inputs, w, after)
            if j < 2:
                tape.batch_norm(w)
            outputs.append(source)
        channels, before = w, after
    pooled = channels * (max(height, 2) // 2) * (max(width, 2) // 2)
    tape.linear("scores", tape.write("pooled", pooled, [source]), pooled, classes)
    return tape


def _separable(
    tape: Tape, name: str, source: str, w_in: int, w: int, before: int, after: int, kernel: tuple[int, int]
) -> str:
    source = tape.conv(f"{name} first", source, 1, w_in, w, before)
    tape.batch_norm(w)
    source = tape.conv(f"{name} depthwise", source, kernel, w, w, after, groups=w)
    tape.batch_norm(w)
    source = tape.conv(f"{name} last", source, 1, w, w, after)
    tape.batch_norm(w)
    return source

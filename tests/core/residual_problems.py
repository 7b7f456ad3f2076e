"""Random networks in stages and small spaces of them, every architecture listed, costed and ranked independently."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from nnmass_core.architecture import Architecture
from tests.core.brute import Row, expand
from tests.core.problems import random_axis
from tests.residual_walks import WALKS

FAMILIES = tuple(WALKS)
ENDS = ("stem_channels", "last_channels", "growth", "compression")
"""Numbers outside the stages that a space may search; a `resnet` takes one number there."""

SEPARABLE = ("ds_cnn", "mobilenet_v1")
SIZED = ("densenet_bc", *SEPARABLE, "mobilenet_v2")
"""Families whose integers start with the size of the image, and the channels outside the stages."""

ROUNDING_DOWN = ("convnext", "densenet_bc")
"""Families whose maps round down, so that too small images leave none."""

OF_ONE_WIDTH = ("densenet_bc",)
"""Families whose stages have one width in each network."""

AXES = {
    "convnext": ("channels", "repeats"),
    "densenet_bc": ("layers",),
    "ds_cnn": ("channels", "repeats", "stride"),
    "mobilenet_v1": ("channels", "repeats", "stride"),
    "mobilenet_v2": ("expansion", "channels", "repeats", "stride", "kernel", "se"),
    "resnet": ("channels", "repeats"),
    "wide_resnet_cifar": ("channels", "repeats"),
}
POOLS = {
    "expansion": (1, 2, 3, 6),
    "channels": (1, 2, 3, 4, 6, 8, 16),
    "repeats": (1, 2, 3),
    "layers": (1, 2, 3, 4),
    "stride": (1, 2),
    "kernel": (3, 3, 5, 7),
    "se": (0, 0, 1, 4, 64),
}
DEFAULTS = {"kernel": 3, "se": 0}
ACTIVATIONS = ("relu6", "relu", "hardswish", "silu")
LEAST = {family: {"densenet_bc": 2, "wide_resnet_cifar": 3}.get(family, 1) for family in FAMILIES}
"""The fewest stages of a network."""


@dataclass(frozen=True)
class ResidualRow(Row):
    """One network; `cells` are its integers in the order of its definition, stage by stage."""

    widths_and_repeats: tuple[tuple[int, int], ...] = ()

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """Channels and repeats of the stages."""
        return self.widths_and_repeats


def integers(d: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    """Return a definition's integers in their order."""
    names = ("growth", "layers") if d["family"] == "densenet_bc" else AXES[d["family"]]
    stages = tuple(tuple((d | DEFAULTS | stage)[name] for name in names) for stage in d["stages"])
    ends = tuple(d[name] for name in ENDS if name in d) if d["family"] in SIZED else ()
    return ((d["input"]["height"], d["input"]["width"], *ends), *stages) if ends else stages


def integers_of(network: Architecture) -> tuple[tuple[int, ...], ...]:
    """Return a network's integers in the order of its definition."""
    return integers(dict(network.definition()))


def row(d: dict[str, Any]) -> ResidualRow:
    """Cost one definition by walking it."""
    tape, mass = WALKS[d["family"]](d)
    shape = tuple(
        (stage.get("channels", d.get("growth")), stage.get("repeats", stage.get("layers"))) for stage in d["stages"]
    )
    stored = tape.params + 2 * tape.norm
    figures = (mass, tape.params, tape.macs, stored, tape.peak)
    return ResidualRow(integers(d), *figures, widths_and_repeats=shape)  # type: ignore[arg-type]


def _base(rng: Random, family: str) -> dict[str, Any]:
    side = rng.choice((8, 9, 16, 33) if family in ROUNDING_DOWN else (1, 2, 7, 16, 33))
    image = {"channels": rng.randint(1, 4), "height": side, "width": rng.choice((side, side + 3))}
    base: dict[str, Any] = {"family": family, "input": image, "num_classes": rng.randint(1, 12)}
    if family == "resnet":
        base |= {"block": rng.choice(("basic", "bottleneck", "regnet_x"))}
        if base["block"] == "bottleneck":
            base |= {"groups": rng.choice((1, 2, 3)), "width_per_group": rng.choice((64, 65, 96, 130))}
        if base["block"] == "regnet_x":
            base |= {"width_per_group": rng.choice((1, 2, 32))}
        base |= rng.choice(({}, {"stem": "small"}, {"stem": "halving"}))
        base |= rng.choice(({}, {"first_stride": 2}))
        base |= rng.choice(({}, {"stem_channels": rng.choice((1, 4, 16))}))
        base |= rng.choice(({}, {"bias": 1}, {"projection_norm": 0}, {"bias": 1, "projection_norm": 0}))
    if family == "convnext":
        base |= rng.choice(({}, {"patch": 1}, {"patch": 2}, {"patch": 3})) | rng.choice(({}, {"expansion": 1}))
    if family == "densenet_bc":
        base |= {"stem": rng.choice(("imagenet", "small")), "bottleneck": rng.choice((0, 1, 2, 4))}
    if family in SEPARABLE:
        base |= {"stem_stride": rng.choice((1, 2))}
    if family == "ds_cnn":
        sides = (1, 3, 5) if base["stem_stride"] == 1 else (1, 2, 3, 4, 10)
        base |= {"stem_kernel_height": rng.choice(sides), "stem_kernel_width": rng.choice(sides)}
    return base


def number_of_stages(rng: Random, base: dict[str, Any]) -> int:
    """Return how many stages a network has, so many that a map is left for the last one."""
    if base["family"] == "convnext":
        smallest = min(base["input"]["height"], base["input"]["width"]) // base.get("patch", 4)
        return rng.randint(1, min(4, smallest.bit_length()))
    if base["family"] == "densenet_bc":
        return rng.choice((2, 3, 4)) if base["stem"] == "small" else 2
    return rng.randint(LEAST[base["family"]], 4)


def unit(base: dict[str, Any]) -> int:
    """Return what divides the channels of stages: blocks of RegNetX have whole groups of 2."""
    return 2 if base.get("block") == "regnet_x" and base["width_per_group"] == 2 else 1


def random_network(rng: Random, family: str) -> dict[str, Any]:
    """Return a valid definition."""
    base = _base(rng, family)
    if family == "mobilenet_v2":
        base |= {"stem_channels": rng.randint(1, 20), "last_channels": rng.randint(1, 40)}
        base |= {"activation": rng.choice(ACTIVATIONS), "stem_stride": rng.choice((1, 2))}
    if family in SEPARABLE:
        base |= {"stem_channels": rng.randint(1, 20)}
    if family == "densenet_bc":
        base |= {"growth": rng.randint(1, 9), "compression": rng.choice((50, 65, 95, 100))}
        base |= {"stem_channels": rng.randint(19, 30)}
    count = number_of_stages(rng, base)
    stages: list[dict[str, int]] = []
    while len(stages) < count:
        stage = {name: rng.choice(POOLS[name]) for name in AXES[family]}
        if unit(base) > 1:
            stage["channels"] *= unit(base)
        goes_on = bool(stages) and stage.get("stride") == 1
        shared = set(AXES[family]) - {"repeats", "stride"}
        if not (goes_on and all(stage[name] == stages[-1][name] for name in shared)):
            stages.append(stage)
    return base | {"stages": stages}


def random_space(rng: Random, family: str, most: int = 300) -> dict[str, Any]:
    """Return the definition of a space of at most `most` networks."""
    while True:
        base = _base(rng, family)
        if family == "mobilenet_v2":
            base |= {"stem_channels": random_axis(rng, (1, 4, 8), 2), "last_channels": random_axis(rng, (3, 9), 2)}
            base |= {"stem_stride": 1} if rng.random() < 0.3 else {}
            if rng.random() < 0.5:
                base["input"] = {"channels": 2, "resolution": random_axis(rng, (1, 8, 15), 3)}
        base |= axes_outside(rng, family)
        count = number_of_stages(rng, base)
        stages = [{name: random_axis(rng, POOLS[name], 3) for name in AXES[family]} for _ in range(count)]
        for stage in stages:
            if unit(base) > 1:
                stage["channels"] = [unit(base) * c for c in expand(stage["channels"])]
            if "stride" in stage:
                stage["stride"] = rng.choice((1, 2, [1, 2]))
            if "kernel" in stage:
                stage["expansion"] = rng.choice((1, 6, [1, 2], [2, 3, 6]))
                stage["kernel"] = rng.choice((3, 3, 5, [3, 7], [3, 5, 7]))
                stage["se"] = rng.choice((0, 0, 4, [0, 2]))
        space = base | {"stages": stages}
        if choices(space) <= most:
            return space


def axes_outside(rng: Random, family: str) -> dict[str, Any]:
    """Return what a space has besides its stages; some of `densenet_bc` have several resolutions."""
    if family in SEPARABLE:
        return {"stem_channels": random_axis(rng, (1, 4, 8), 2)}
    if family != "densenet_bc":
        return {}
    axes: dict[str, Any] = {
        "stem_channels": random_axis(rng, (19, 20, 24), 2),
        "growth": random_axis(rng, (1, 2, 4, 6), 2),
        "compression": rng.choice((50, 50, 100, [50, 55], [65, 100])),
    }
    sides = {"channels": 2, "resolution": random_axis(rng, (8, 9, 16), 2)}
    return axes | ({"input": sides} if rng.random() < 0.3 else {})


def choices(space: dict[str, Any]) -> int:
    """Return the number of choices for all fields of a space; several may make the same network."""
    size = 1
    for form in (form for stage in space["stages"] for form in stage.values()):
        size *= len(expand(form))
    for form in (*(space.get(name, 1) for name in ENDS), space["input"].get("resolution", 1)):
        size *= len(expand(form))
    return size


def merged(stages: Iterable[dict[str, int]]) -> list[dict[str, int]]:
    """Return stages with equal neighbors as one, where there is no stride between them; those of 0 blocks are none."""
    found: list[dict[str, int]] = []
    for stage in stages:
        if not stage["repeats"]:
            continue
        if found and stage | {"repeats": 0} == found[-1] | {"repeats": 0, "stride": 1}:
            found[-1] = found[-1] | {"repeats": found[-1]["repeats"] + stage["repeats"]}
        else:
            found.append(stage)
    return found


def kept(family: str, stages: Iterable[dict[str, int]]) -> list[dict[str, int]]:
    """Return the stages of a network: in most families each one that has blocks."""
    return merged(stages) if "stride" in AXES[family] else [stage for stage in stages if stage.get("repeats", 1)]


def definitions(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every network of a space as its definition, each once."""
    image = space["input"]
    inputs = [image]
    if "resolution" in image:
        inputs = [{"channels": image["channels"], "height": r, "width": r} for r in expand(image["resolution"])]
    names = AXES[space["family"]]
    axes = [(DEFAULTS if space["family"] == "mobilenet_v2" else {}) | stage for stage in space["stages"]]
    stages = [
        [dict(zip(names, values, strict=True)) for values in itertools.product(*(expand(stage[n]) for n in names))]
        for stage in axes
    ]
    ends = [name for name in ENDS if name in space]
    networks = (kept(space["family"], one) for one in itertools.product(*stages))
    chosen = sorted((one for one in networks if len(one) >= LEAST[space["family"]]), key=_numbers)
    distinct = [one for one, _ in itertools.groupby(chosen)]
    return [
        space | {"input": one, "stages": blocks} | dict(zip(ends, end, strict=True))
        for one, end, blocks in itertools.product(
            inputs, itertools.product(*(expand(space[name]) for name in ends)), distinct
        )
    ]


def _numbers(stages: list[dict[str, int]]) -> list[list[int]]:
    return [list(stage.values()) for stage in stages]


def ranked(space: dict[str, Any]) -> list[Row]:
    """Return the whole space in ranking order."""
    return sorted((row(d) for d in definitions(space)), key=lambda found: found.place)

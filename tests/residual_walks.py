"""Costs of networks in stages, step by step as their modules run, sharing no code with the product."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.walks import Tape

Maps = tuple[int, int]


def down(maps: Maps, stride: int) -> Maps:
    """Return the size of what a padded convolution with this stride gives."""
    return ((maps[0] - 1) // stride + 1, (maps[1] - 1) // stride + 1)


def positions(maps: Maps) -> int:
    return maps[0] * maps[1]


def add(tape: Tape, main: str, other: str) -> str:
    """Add a tensor into the main branch: a step that writes nothing new."""
    tape.elements["nothing"] = 0
    tape.steps.append(("nothing", [main, other]))
    return main


def conv_norm(
    tape: Tape, name: str, source: str, kernel: int, i: int, o: int, maps: Maps, groups: int = 1, *, bias: bool = False
) -> str:
    written = tape.conv(name, source, kernel, i, o, positions(maps), groups, bias=bias)
    tape.batch_norm(o)
    return written


def finish(tape: Tape, source: str, channels: int, classes: int) -> None:
    tape.linear("scores", tape.write("pooled", channels, [source]), channels, classes)


def squeeze_and_excite(tape: Tape, name: str, source: str, channels: int, squeezed: int) -> str:
    """Scale a tensor by two layers with bias over its means; the scaling writes nothing new."""
    means = tape.write(f"{name} means", channels, [source])
    squeeze = tape.linear(f"{name} squeeze", means, channels, squeezed)
    return add(tape, source, tape.linear(f"{name} excite", squeeze, squeezed, channels))


def walk_mobilenet(d: dict[str, Any]) -> tuple[Tape, Fraction]:
    """Walk a `mobilenet_v2` definition; return its tape and its NN-Mass."""
    tape, mass = Tape(), Fraction(0)
    maps = (d["input"]["height"], d["input"]["width"])
    x = tape.write("x", d["input"]["channels"] * positions(maps), [])
    maps = down(maps, d.get("stem_stride", 2))
    x = conv_norm(tape, "stem", x, 3, d["input"]["channels"], d["stem_channels"], maps)
    i = d["stem_channels"]
    for s, stage in enumerate(d["stages"]):
        for r in range(stage["repeats"]):
            stride = stage["stride"] if r == 0 else 1
            o, hidden = stage["channels"], round(i * stage["expansion"])
            name, y = f"{s}.{r}", x
            if stage["expansion"] != 1:
                y = conv_norm(tape, f"{name} expand", y, 1, i, hidden, maps)
            maps = down(maps, stride)
            y = conv_norm(tape, f"{name} depthwise", y, stage.get("kernel", 3), hidden, hidden, maps, groups=hidden)
            if stage.get("se", 0):
                y = squeeze_and_excite(tape, name, y, hidden, max(1, i // stage["se"]))
            y = conv_norm(tape, f"{name} project", y, 1, hidden, o, maps)
            if stride == 1 and i == o:
                y = add(tape, y, x)
                mass += Fraction((i + 2 * hidden) * i, 2 * i + hidden)
            x, i = y, o
    x = conv_norm(tape, "last", x, 1, i, d["last_channels"], maps)
    finish(tape, x, d["last_channels"], d["num_classes"])
    return tape, mass


def walk_resnet(d: dict[str, Any]) -> tuple[Tape, Fraction]:
    """Walk a `resnet` definition."""
    tape, mass, bias = Tape(), Fraction(0), d.get("bias", 0) == 1
    maps = (d["input"]["height"], d["input"]["width"])
    x, i = tape.write("x", d["input"]["channels"] * positions(maps), []), d.get("stem_channels", 64)
    if d.get("stem", "imagenet") == "halving":
        maps = down(maps, 2)
        x = conv_norm(tape, "stem", x, 3, d["input"]["channels"], i, maps, bias=bias)
    elif d.get("stem", "imagenet") == "imagenet":
        maps = down(maps, 2)
        x = conv_norm(tape, "stem", x, 7, d["input"]["channels"], i, maps, bias=bias)
        maps = down(maps, 2)
        x = tape.write("max pool", i * positions(maps), [x])
    else:
        x = conv_norm(tape, "stem", x, 3, d["input"]["channels"], i, maps, bias=bias)
    groups, per_group = d.get("groups", 1), d.get("width_per_group", 64)
    for s, stage in enumerate(d["stages"]):
        planes = stage["channels"]
        for r in range(stage["repeats"]):
            stride, name = (2 if s else d.get("first_stride", 1)) if r == 0 else 1, f"{s}.{r}"
            after = down(maps, stride)
            if d["block"] == "basic":
                o = planes
                y = conv_norm(tape, f"{name} 1", x, 3, i, planes, after, bias=bias)
                y = conv_norm(tape, f"{name} 2", y, 3, planes, o, after, bias=bias)
                mass += i + o
            else:
                o, width = 4 * planes, int(planes * (per_group / 64.0)) * groups
                if d["block"] == "regnet_x":
                    o = width = planes
                    groups = planes // min(per_group, planes)
                y = conv_norm(tape, f"{name} 1", x, 1, i, width, maps, bias=bias)
                y = conv_norm(tape, f"{name} 2", y, 3, width, width, after, groups, bias=bias)
                y = conv_norm(tape, f"{name} 3", y, 1, width, o, after, bias=bias)
                mass += Fraction((i + 2 * width) * i, 2 * i + width)
            shortcut = x
            if stride == 2 or i != o:
                shortcut = tape.conv(f"{name} shortcut", x, 1, i, o, positions(after), bias=bias)
                tape.batch_norm(o * d.get("projection_norm", 1))
            x, i, maps = add(tape, y, shortcut), o, after
    finish(tape, x, i, d["num_classes"])
    return tape, mass


def walk_wide(d: dict[str, Any]) -> tuple[Tape, Fraction]:
    """Walk a `wide_resnet_cifar` definition."""
    tape, mass = Tape(), Fraction(0)
    maps = (d["input"]["height"], d["input"]["width"])
    x = tape.write("x", d["input"]["channels"] * positions(maps), [])
    x, i = tape.conv("stem", x, 3, d["input"]["channels"], 16, positions(maps)), 16
    for s, stage in enumerate(d["stages"]):
        o = stage["channels"]
        for r in range(stage["repeats"]):
            stride, name = (2 if s and r == 0 else 1), f"{s}.{r}"
            after = down(maps, stride)
            tape.batch_norm(i)
            y = tape.write(f"{name} activated", i * positions(maps), [x])  # the shortcut or the sum reads x again
            y = tape.conv(f"{name} 1", y, 3, i, o, positions(after))
            tape.batch_norm(o)
            y = tape.conv(f"{name} 2", y, 3, o, o, positions(after))
            shortcut = x
            if stride == 2 or i != o:
                shortcut = tape.conv(f"{name} shortcut", x, 1, i, o, positions(after))
            mass += i + o
            x, i, maps = add(tape, y, shortcut), o, after
    tape.batch_norm(i)
    finish(tape, x, i, d["num_classes"])
    return tape, mass


def walk_separable(d: dict[str, Any]) -> tuple[Tape, Fraction]:
    """Walk a `mobilenet_v1` or `ds_cnn` definition: no skip connection, so no NN-Mass."""
    tape, bias = Tape(), d["family"] == "ds_cnn"
    maps = (d["input"]["height"], d["input"]["width"])
    x = tape.write("x", d["input"]["channels"] * positions(maps), [])

    def layer(name: str, kernel: int | tuple[int, int], i: int, o: int, groups: int = 1) -> str:
        written = tape.conv(name, x, kernel, i, o, positions(maps), groups, bias=bias)
        tape.batch_norm(o)
        return written

    maps, i = down(maps, d.get("stem_stride", 2)), d["stem_channels"]
    kernel = (d["stem_kernel_height"], d["stem_kernel_width"]) if bias else 3
    x = layer("stem", kernel, d["input"]["channels"], i)
    for s, stage in enumerate(d["stages"]):
        for r in range(stage["repeats"]):
            maps = down(maps, stage["stride"] if r == 0 else 1)
            x = layer(f"{s}.{r} depthwise", 3, i, i, i)
            x = layer(f"{s}.{r} pointwise", 1, i, stage["channels"])
            i = stage["channels"]
    finish(tape, x, i, d["num_classes"])
    return tape, Fraction(0)


def walk_dense_bc(d: dict[str, Any]) -> tuple[Tape, Fraction]:
    """Walk a `densenet_bc` definition."""
    tape, mass = Tape(), Fraction(0)
    maps = (d["input"]["height"], d["input"]["width"])
    x, i = tape.write("x", d["input"]["channels"] * positions(maps), []), d["stem_channels"]
    if d.get("stem", "imagenet") == "imagenet":
        maps = down(maps, 2)
        x = conv_norm(tape, "stem", x, 7, d["input"]["channels"], i, maps)
        maps = down(maps, 2)
        x = tape.write("max pool", i * positions(maps), [x])
    else:
        x = tape.conv("stem", x, 3, d["input"]["channels"], i, positions(maps))
    k, inner = d["growth"], d.get("bottleneck", 4) * d["growth"]
    for s, stage in enumerate(d["stages"]):
        if s:
            tape.batch_norm(i)
            o = int(i * (d.get("compression", 50) / 100) + 1e-9)
            x = tape.conv(f"{s} transition", x, 1, i, o, positions(maps))
            maps, i = (maps[0] // 2, maps[1] // 2), o
            x = tape.write(f"{s} pool", i * positions(maps), [x])
        for layer in range(stage["layers"]):
            name, read = f"{s}.{layer}", i
            tape.batch_norm(i)
            y = tape.write(f"{name} activated", i * positions(maps), [x])  # the concatenation reads x again
            if inner:
                y = conv_norm(tape, f"{name} 1", y, 1, read, inner, maps)
                read = inner
            y = tape.conv(f"{name} 2", y, 3, read, k, positions(maps))
            i += k
            x = tape.write(f"{name} joined", i * positions(maps), [x, y])
            mass += k
    tape.batch_norm(i)
    finish(tape, x, i, d["num_classes"])
    return tape, mass


def walk_convnext(d: dict[str, Any]) -> tuple[Tape, Fraction]:
    """Walk a `convnext` definition. LayerNorm and GELU work in place, and a Linear of maps is a 1x1 convolution."""
    tape, mass = Tape(), Fraction(0)
    height, width, i = d["input"]["height"], d["input"]["width"], d["input"]["channels"]
    x = tape.write("x", i * height * width, [])
    for s, stage in enumerate(d["stages"]):
        c, size = stage["channels"], 2 if s else d.get("patch", 4)
        height, width = height // size, width // size
        tape.params += 2 * (i if s else c)
        x = tape.conv(f"{s} enter", x, size, i, c, height * width, bias=True)
        for r in range(stage["repeats"]):
            name, inner = f"{s}.{r}", d.get("expansion", 4) * c
            y = tape.conv(f"{name} depthwise", x, 7, c, c, height * width, groups=c, bias=True)
            tape.params += 2 * c
            y = tape.conv(f"{name} 1", y, 1, c, inner, height * width, bias=True)
            y = tape.conv(f"{name} 2", y, 1, inner, c, height * width, bias=True)
            tape.params += c
            x = add(tape, y, x)
            mass += 2 * c
        i = c
    tape.params += 2 * i
    finish(tape, x, i, d["num_classes"])
    return tape, mass


WALKS = {
    "convnext": walk_convnext,
    "densenet_bc": walk_dense_bc,
    "ds_cnn": walk_separable,
    "mobilenet_v1": walk_separable,
    "mobilenet_v2": walk_mobilenet,
    "resnet": walk_resnet,
    "wide_resnet_cifar": walk_wide,
}

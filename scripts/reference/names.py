"""The names that a request can use: spaces, networks, devices, data sets, recipes; and the words of a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nnmass import formatting
from nnmass_core.costs import COSTS
from nnmass_core.hardware.devices import devices
from nnmass_core.named.datasets import datasets
from nnmass_core.named.networks import named_networks
from nnmass_core.named.presets import presets
from nnmass_core.named.recipes import recipes
from scripts.reference.text import code, listed, one_line, page, table

ABOUT = """Names that requests may use in place of a full definition, from the code that resolves them. A running
service lists the same: `GET /v1/spaces`, `/v1/datasets`, `/v1/recipes`."""

COSTS_ABOUT = """A budget may limit each of them, and those that are sums from below too (a floor). An objective or a
Pareto front may name those marked so. A package may [add a cost](../adding-a-cost.md)."""

DEVICES = f"""A budget's `device` sets {
    " and ".join(f"`{cost.limit}` to its `{cost.memory}`" for cost in COSTS.values() if cost.memory)
}. All of the memory counts: leave room for your program by lower limits of your own."""

CAVEATS = "A certificate may carry these in `caveats`. They are no errors: they say what to keep in mind."


def names_page() -> str:
    """Return the page."""
    return page(
        *("# Names", ABOUT),
        *(
            "## Costs and limits",
            COSTS_ABOUT,
            table(("cost", "limit", "floor", "what it limits", "unit", "objective"), _costs()),
        ),
        *("## Spaces", table(("name", "family", "networks", "what it is"), _spaces(), right=(2,))),
        *("## Well-known networks", "As torchvision names and builds them, for 1,000 classes at 224 x 224."),
        table(("name", "NN-Mass", "params", "MACs"), _networks(), right=(1, 2, 3)),
        *(
            "## Devices",
            DEVICES,
            table(("name", "device", "flash", "RAM", "default precision", "source and note"), _devices(), right=(2, 3)),
        ),
        *("## Data sets", table(("name", "what it is", "one input", "train + test", "source"), _datasets())),
        *("## Recipes", table(("name", "what it is", "epochs", "batch", "digest"), _recipes(), right=(2, 3))),
        *("## Caveats", CAVEATS, table(("code", "meaning"), _caveats())),
    )


def _costs() -> Iterator[Sequence[str]]:
    for cost in COSTS.values():
        floor, objective = code(cost.floor) if cost.summed else "", "yes" if cost.objective else ""
        yield code(cost.name), code(cost.limit), floor, one_line(cost.description), cost.unit, objective


def _spaces() -> Iterator[Sequence[str]]:
    for preset in presets().values():
        yield code(preset.name), code(preset.space.family), f"{preset.space_size:,}", one_line(preset.description)


def _networks() -> Iterator[Sequence[str]]:
    for name, network in named_networks().items():
        figures = network.evaluation
        yield code(name), f"{float(figures.mass):,.1f}", f"{figures.params:,}", f"{figures.macs:,}"


def _devices() -> Iterator[Sequence[str]]:
    for device in devices().values():
        sizes = ["" if size is None else f"{size:,}" for size in (device.flash_bytes, device.ram_bytes)]
        precision = device.default_precision
        yield code(device.name), one_line(device.title), *sizes, precision, one_line(f"{device.source}. {device.note}")


def _datasets() -> Iterator[Sequence[str]]:
    for about in datasets().values():
        reported: dict[str, Any] = about.to_json()
        shape = " x ".join(map(str, about.shape)) if about.shape else "as the network takes"
        sizes = f"{about.train:,} + {about.test:,}" if about.train and about.test else "as you give"
        extra = f" Fields: {listed(reported['fields'])}." if reported["fields"] else ""
        yield code(about.name), one_line(about.description) + extra, shape, sizes, one_line(about.source)


def _recipes() -> Iterator[Sequence[str]]:
    for item in recipes().values():
        digest = item.recipe.digest
        figures = str(item.recipe.epochs), str(item.recipe.batch_size)
        yield code(item.name), one_line(item.description), *figures, code(f"{digest[:15]}...")


def _caveats() -> Iterator[Sequence[str]]:
    return ((code(name), one_line(meaning)) for name, meaning in formatting.CAVEATS.items())

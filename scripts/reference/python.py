"""The Python reference: the objects that mkdocstrings describes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

import nnmass
from scripts.reference.text import page

CLIENT = """What `import nnmass` gives, from its docstrings and annotations. [The Python
client](../python-client.md) shows how it is used. Local functions need no service; `Client` speaks to one and
answers in the same types."""

CORE = """The library beneath all of it. It computes and proves, and knows no service, no files and no clock:
figures are exact integers and rationals. `nnmass.search` is the easier way in; these are for those who build on the
engine."""

SEARCH_OPTIONS = "nnmass.search_options.SearchOptions"
"""Not exported by the package itself, but every search takes the parameters that it lists."""

MODULES = {
    "Search": ("nnmass_core.search", ("search", "chain_of")),
    "Requests": ("nnmass_core.request", ("SearchRequest", "Maximize", "Minimize", "Pareto", "decode_objective")),
    "Budgets": ("nnmass_core.budget", ("Budget", "Limit")),
    "Certificates": ("nnmass_core.certificate", ("SearchResult", "Certificate", "Ranked")),
    "Spaces": ("nnmass_core.named.presets", ("presets", "resolve_space", "Preset")),
    "Families": ("nnmass_core.families", ("FAMILIES", "Family", "decode_architecture", "decode_space")),
    "Architectures": (
        "nnmass_core.architecture",
        ("Architecture", "ImageArchitecture", "Image", "Evaluation", "Part", "Step", "LayerShape"),
    ),
    "Control of a running search": ("nnmass_core.engine.control", ("Control",)),
    "Errors": ("nnmass_core.errors", ("NnmassError", "Problem", "DefinitionError", "NotPossible", "Interrupted")),
}
"""The public parts of the core: module and names."""

PLUGIN = """What a package that brings a family of networks imports. [Add a family](../adding-a-family.md) shows how
it is used. `build`, `peak_elements` and `ConcatenationCell` need torch; the others do not load it."""

PLUGIN_PARTS = {
    "A family": ("Family",),
    "Definitions": ("Architecture", "ImageArchitecture", "Image", "Evaluation", "Part", "Step", "LayerShape"),
    "Fields of definitions": (
        *("Value", "integer", "number", "choice", "text", "nested", "sequence"),
        *("LARGEST_INTEGER", "encode", "decode", "json_schema"),
    ),
    "Spaces": (
        *("Space", "Fields", "decode_integer", "decode_choice"),
        *("Axis", "decode_axis", "decode_axes", "encode_axes", "single_axis_schema", "axis_schema"),
    ),
    "Chains of stages": ("Chain", "Stage", "Costs", "stage_of", "timed"),
    "NN-Mass": (
        *(
            "mass",
            "mass_terms",
            "links",
            "layer_links",
            "sampled_links",
            "density",
            "average_degree",
            "canonical_skip_channels",
        ),
        *("basic_block_terms", "bottleneck_terms", "smaller", "larger"),
    ),
    "Multiples of a network": ("Scale", "scaled_channels", "scaled_number"),
    "Operators and latency": (
        *("Work", "Operators", "convolution", "depthwise", "grouped", "linear", "elementwise", "pool"),
        "LatencyModel",
    ),
    "Diagrams": ("Panel", "Arc", "shown"),
    "Errors": ("Problem", "DefinitionError", "NotPossible"),
    "Wiring and modules": ("Wiring", "draw_wiring", "ConcatenationCell", "build", "peak_elements"),
}
"""The names in `nnmass_core.plugin`, grouped by purpose."""


def client_page() -> str:
    """Return the page of the package nnmass."""
    public = {name: getattr(nnmass, name) for name in nnmass.__all__ if not name.startswith("_")}
    functions = [name for name, value in public.items() if inspect.isfunction(value)]
    errors = [name for name, value in public.items() if inspect.isclass(value) and issubclass(value, Exception)]
    others = [name for name in public if name not in (*functions, *errors, "Client")]
    return page(
        *("# Python: nnmass", CLIENT),
        *("## Functions", *_directives("nnmass", functions), _directive(SEARCH_OPTIONS)),
        *("## Client", _directive("nnmass.Client")),
        *("## What they answer", *_directives("nnmass", others)),
        *("## Errors", *_directives("nnmass", errors)),
    )


def core_page() -> str:
    """Return the page of the package nnmass_core."""
    parts = ["# Python: nnmass_core", CORE]
    for title, (module, names) in MODULES.items():
        parts += [f"## {title}", f"In `{module}`.", *_directives(module, names)]
    return page(*parts)


def plugin_page() -> str:
    """Return the page of the module nnmass_core.plugin."""
    parts = ["# Python: nnmass_core.plugin", PLUGIN]
    for title, names in PLUGIN_PARTS.items():
        parts += [f"## {title}", *_directives("nnmass_core.plugin", names)]
    return page(*parts)


def _directives(module: str, names: Iterable[str]) -> Iterator[str]:
    return (_directive(f"{module}.{name}") for name in names)


def _directive(path: str) -> str:
    return f"::: {path}"

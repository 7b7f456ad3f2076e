"""Tables of architectures for pandas and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from nnmass import formatting
from nnmass.errors import NotPossible
from nnmass_core.codec import JsonObject
from nnmass_core.costs import COSTS
from nnmass_core.export.parts import ANY_HEADING, parts_of, width_of

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SHOWN = 20
PLACES = ("rank", "point", "space")
"""The figures that say where in a ranking or on a front a network is, and in which of several spaces."""

Rows = Sequence[Mapping[str, Any]]


def frame(rows: Rows) -> DataFrame:
    """Return a DataFrame. Raises NotPossible where pandas is not installed."""
    try:
        import pandas as pd  # imported here: most users of the client do not need it
    except ImportError as error:
        raise NotPossible("not_installed", 'requires pandas: pip install "nnmass[pandas]"') from error
    return pd.DataFrame(list(rows))


def frame_of(architectures: Rows, caveats: Sequence[str] = ()) -> DataFrame:
    """Return a DataFrame with one row per architecture, with the size of its input where that varies."""
    sized = formatting.varies_resolution(architectures, caveats)
    return frame([_row(item) | (_size(item) if sized else {}) for item in architectures])


def _size(item: Mapping[str, Any]) -> JsonObject:
    height, width = formatting.sides(item) or (None, None)
    return {"input_height": height, "input_width": width}


def _row(item: Mapping[str, Any]) -> JsonObject:
    ranked = {name: item[name] for name in PLACES if item.get(name) is not None}
    slack = {f"slack_{name}": left for name, left in (item.get("slack") or {}).items()}
    unused = {f"unused_{name}": share for name, share in (item.get("unused") or {}).items()}
    widths = {f"width_{n}": width_of(part) for n, part in enumerate(parts_of(item), start=1)}
    return (
        ranked
        | {"arch_id": item["arch_id"]}
        | {name: item.get(name) for name in ("nn_mass", *COSTS, "precision")}
        | ({"batch": item["batch"]} if item.get("batch", 1) > 1 else {})
        | slack
        | unused
        | widths
    )


def _columns(rows: Rows, *requests: Mapping[str, Any]) -> dict[str, tuple[str, Callable[[Any], str]]]:
    """Return the columns that people see of architectures: each with its heading and how it is written."""
    shown = formatting.shown_costs(rows, *requests)
    costs = {one.name: (formatting.cost_heading(one, rows), partial(formatting.of_cost, one)) for one in shown}
    places: dict[str, tuple[str, Callable[[Any], str]]] = {name: (name, formatting.count) for name in PLACES}
    return places | {"nn_mass": ("NN-Mass", formatting.number), **costs}


def html_of(
    architectures: Rows, caption: str = "", caveats: Sequence[str] = (), requests: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Return a table for a notebook, of the first of them. requests: what they answer."""
    shown = architectures[:MOST_SHOWN]
    known = _columns(architectures, *requests)
    columns = {name: column for name, column in known.items() if any(item.get(name) is not None for item in shown)}
    last = {"resolution": formatting.resolution} if formatting.varies_resolution(architectures, caveats) else {}
    last |= {ANY_HEADING: formatting.shape}
    heads = "".join(f"<th>{escape(head)}</th>" for head in (*(head for head, _ in columns.values()), *last))
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(write(item.get(name)))}</td>" for name, (_, write) in columns.items())
        + "".join(f"<td>{escape(write(item))}</td>" for write in last.values())
        + "</tr>"
        for item in shown
    )
    more = len(architectures) - len(shown)
    below = f"<p>and {more:,} more</p>" if more else ""
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>{rows}</table>{below}"

"""Everything that a package with a family of networks needs to import (docs/adding-a-family.md).

The names here stay when the modules behind them move. `build`, `peak_elements` and `ConcatenationCell` need torch, and
import it only when they are first used: a package that imports this module starts just as quickly in processes without
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nnmass_core.architecture import Architecture, Evaluation, Image, ImageArchitecture, LayerShape, Part, Step
from nnmass_core.codec import (
    LARGEST_INTEGER,
    Value,
    choice,
    decode,
    encode,
    integer,
    json_schema,
    nested,
    number,
    sequence,
    text,
)
from nnmass_core.diagram import Arc, Panel, shown
from nnmass_core.engine.chain import Chain, Stage
from nnmass_core.errors import DefinitionError, NotPossible, Problem
from nnmass_core.families import Family
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.hardware.latency import (
    LatencyModel,
    Operators,
    Work,
    convolution,
    depthwise,
    elementwise,
    grouped,
    linear,
    pool,
)
from nnmass_core.mass import (
    average_degree,
    basic_block_terms,
    bottleneck_terms,
    canonical_skip_channels,
    density,
    larger,
    layer_links,
    links,
    mass,
    mass_terms,
    sampled_links,
    smaller,
)
from nnmass_core.spaces.axis import Axis, axis_schema, decode_axes, decode_axis, encode_axes, single_axis_schema
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.multipliers import Scale, scaled_channels, scaled_number
from nnmass_core.wiring import Wiring, draw_wiring

if TYPE_CHECKING:
    from nnmass_core.nets import build
    from nnmass_core.nets.concatenation import ConcatenationCell
    from nnmass_core.nets.liveness import peak_elements

WITH_TORCH = {
    "ConcatenationCell": "nnmass_core.nets.concatenation",
    "build": "nnmass_core.nets",
    "peak_elements": "nnmass_core.nets.liveness",
}
"""The names that need torch, and the module of each."""

__all__ = [
    "LARGEST_INTEGER",
    "Arc",
    "Architecture",
    "Axis",
    "Chain",
    "ConcatenationCell",
    "Costs",
    "DefinitionError",
    "Evaluation",
    "Family",
    "Fields",
    "Image",
    "ImageArchitecture",
    "LatencyModel",
    "LayerShape",
    "NotPossible",
    "Operators",
    "Panel",
    "Part",
    "Problem",
    "Scale",
    "Space",
    "Stage",
    "Step",
    "Value",
    "Wiring",
    "Work",
    "average_degree",
    "axis_schema",
    "basic_block_terms",
    "bottleneck_terms",
    "build",
    "canonical_skip_channels",
    "choice",
    "convolution",
    "decode",
    "decode_axes",
    "decode_axis",
    "decode_choice",
    "decode_integer",
    "density",
    "depthwise",
    "draw_wiring",
    "elementwise",
    "encode",
    "encode_axes",
    "grouped",
    "integer",
    "json_schema",
    "larger",
    "layer_links",
    "linear",
    "links",
    "mass",
    "mass_terms",
    "nested",
    "number",
    "peak_elements",
    "pool",
    "sampled_links",
    "scaled_channels",
    "scaled_number",
    "sequence",
    "shown",
    "single_axis_schema",
    "smaller",
    "stage_of",
    "text",
    "timed",
]


def __getattr__(name: str) -> Any:
    """Load a name that needs torch on its first use (PEP 562)."""
    if name not in WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(WITH_TORCH[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

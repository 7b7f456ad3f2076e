"""The JSON form of networks and spaces, family by family, from the schemas that check them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nnmass_core.families import FAMILIES, architecture_schema
from nnmass_core.named.networks import named_networks
from nnmass_core.named.presets import presets
from scripts.reference.schemas import fields_table
from scripts.reference.text import code, page

ABOUT = """A network is written by the integers that fix its layers; a space is written in the same words, with
ranges in place of numbers. Both are JSON, the same for REST, the command line (`--space FILE`) and Python. The
tables come from the schemas that check them. What is not listed is refused."""

RANGES = """Where a table says *range*, a space takes one of

- `{"min": 16, "max": 256, "step": 16}`; the step is 1 if left out, and `max` counts only if it is on the grid;
- a list of numbers, `[16, 32, 48]`: a set of values, at most 4,096;
- one number: one value.

*Or a list of them*: one range for each cell, its length checked."""

IDENTITY = """`arch_id` is a hash of the definition in its canonical form. The same network has the same id wherever
it appears: what can be written in two ways is made one way (a surplus of `skip_channels` is taken off) or refused
(two neighboring stages that are one). In a space such stages may meet: its networks count once, with these as one."""


def definitions_page() -> str:
    """Return the page."""
    parts = ["# Networks and spaces", ABOUT, "## Ranges", RANGES, "## One network, one id", IDENTITY]
    for name in FAMILIES:
        parts += [f"## {code(name)} {{ #{name} }}", *_family(name)]
    return page(*parts)


def _family(name: str) -> Iterator[str]:
    schemas: dict[str, Any] = architecture_schema()
    networks = {schema["properties"]["family"]["const"]: schema for schema in schemas["oneOf"]}
    yield "A network:"
    yield fields_table(networks[name])
    known = next((network.definition() for network in named_networks().values() if network.family == name), None)
    if known is not None:
        yield _json(known)
    yield "A space:"
    yield fields_table(FAMILIES[name].space.schema())
    preset = next((preset for preset in presets().values() if preset.space.family == name), None)
    if preset is not None:
        yield f"For example the preset {code(preset.name)}:"
        yield _json(preset.space.to_json())


def _json(value: Any) -> str:
    """Return JSON with a line for each field, as short as is readable."""
    lines = (f"  {json.dumps(name)}: {_short(inner)}" for name, inner in value.items())
    return "```json\n{\n" + ",\n".join(lines) + "\n}\n```"


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in value) + "\n  ]"
    return json.dumps(value)

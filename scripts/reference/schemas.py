"""JSON Schemas as readable tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scripts.reference.text import code, listed, one_line, table

Schema = Mapping[str, Any]

SIMPLE = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
FORMATS = {"uuid": "UUID", "date-time": "moment, ISO 8601 with its zone"}
SHORTEST_LIST = 12
"""The most choices that are listed; longer lists are only counted."""


def fields_table(schema: Schema) -> str:
    """Return the fields of an object; inner fields have dotted paths, as in errors."""
    rows = [(code(path), kind, one_line(meaning)) for path, kind, meaning in _rows(schema, "")]
    return table(("field", "type", "meaning"), rows)


def _rows(schema: Schema, prefix: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        wanted = "" if name in required or not required else ", optional"
        yield path, f"{type_of(inner)}{wanted}{_default(inner)}", inner.get("description", "")
        plain = _without_null(inner)
        if plain.get("type") == "array":
            path, plain = f"{path}[]", plain.get("items", {})
        if "properties" in plain and not _is_range(plain):
            yield from _rows(plain, f"{path}.")


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default in (None, "", [], {}) and default is not False else f", default {code(_json(default))}"


def _json(value: object) -> object:
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value


def type_of(schema: Schema) -> str:
    """Return the type of a value in words; objects are links."""
    return next((describe(schema) for keyword, describe in KEYWORDS.items() if keyword in schema), "JSON")


def _link(schema: Schema) -> str:
    name = str(schema["$ref"]).rsplit("/", 1)[-1]
    return f"[{name}](bodies.md#{anchor(name)})"


def _typed(schema: Schema) -> str:
    match schema:
        case {"type": "array", "prefixItems": items}:
            return f"list of {', then '.join(map(type_of, items))}"
        case {"type": "array", "items": items}:
            return f"list of {type_of(items)}{_span(schema, 'minItems', 'maxItems', '')}"
        case {"type": "object", "additionalProperties": dict(values)} if values and "properties" not in schema:
            return f"object, each value: {type_of(values)}"
        case {"type": str(kind)}:
            return _simple(schema, kind)
    return "JSON"


def _choices(choices: list[Any]) -> str:
    if any(isinstance(choice, list) for choice in choices):
        return " or ".join(code(choice) for choice in choices)
    return listed(map(_json, choices)) if len(choices) <= SHORTEST_LIST else f"one of {len(choices)} names"


def _one_of(kinds: list[Schema]) -> str:
    if any(_is_range(kind) for kind in kinds):
        return "[range](definitions.md#ranges)" + ("" if len(kinds) < 4 else ", or a list of them")
    return " or ".join(dict.fromkeys(_shape_of(kind) for kind in kinds))


def _shape_of(kind: Schema) -> str:
    """Return one of several alternatives; a small object with its fields, since it has no rows of its own."""
    if kind.get("type") != "object" or "properties" not in kind:
        return type_of(kind)
    fields = ", ".join(f"{code(name)}: {type_of(inner)}" for name, inner in kind["properties"].items())
    return f"object of {fields}"


def _is_range(schema: Schema) -> bool:
    return list(schema.get("properties", ())) == ["min", "max", "step"]


def _without_null(schema: Schema) -> Schema:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema


def _simple(schema: Schema, kind: str) -> str:
    if kind == "string":
        shown = FORMATS.get(schema.get("format", ""), "text")
        pattern = f", matches {code(schema['pattern'])}" if "pattern" in schema else ""
        return f"{shown}{pattern}{_span(schema, 'minLength', 'maxLength', ' characters')}"
    unit = _span(schema, "minimum", "maximum", "") + _span(schema, "exclusiveMinimum", "exclusiveMaximum", "", "above")
    return SIMPLE.get(kind, kind) + unit


def _span(schema: Schema, least: str, most: str, unit: str, word: str = "from") -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if high is None:
        return f", {'at least' if word == 'from' else word} {_figure(low)}{unit}"
    return f", at most {_figure(high)}{unit}" if low is None else f", {_figure(low)} to {_figure(high)}{unit}"


def _figure(value: float | None) -> str:
    if value == 2**53 - 1:
        return "2^53 - 1"
    return f"{value:,.0f}" if value is not None and float(value).is_integer() and value < 1e15 else f"{value:g}"


def anchor(name: str) -> str:
    """Return the anchor of a shared schema on the page of bodies."""
    return name.lower()


KEYWORDS: dict[str, Callable[[Schema], str]] = {
    "$ref": _link,
    "const": lambda schema: code(_json(schema["const"])),
    "enum": lambda schema: _choices(schema["enum"]),
    "oneOf": lambda schema: _one_of(schema["oneOf"]),
    "anyOf": lambda schema: _one_of(schema["anyOf"]),
    "type": _typed,
}
"""Schema keywords that describe a value; the first one present is used."""

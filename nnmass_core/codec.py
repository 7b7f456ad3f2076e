"""The JSON form of the core's frozen values. Only this module reads, writes and describes it.

A value is a frozen dataclass derived from `Value`. Its fields are declared with `integer`, `number`, `choice`, `text`,
`nested` and `sequence`, which hold the bounds; `decode`, `encode` and `json_schema` follow from the declaration. A
value is checked when it is built, so an invalid one cannot exist, whether it came from JSON or from Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import abc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from nnmass_core.errors import DefinitionError, Problem, join_path

LARGEST_INTEGER = 2**53 - 1
"""Larger integers lose digits in JSON readers that use doubles, and in the engine's arrays."""

JsonValue: TypeAlias = "bool | int | float | str | abc.Sequence[JsonValue] | abc.Mapping[str, JsonValue] | None"
"""Whatever can be written as JSON."""

JsonObject: TypeAlias = dict[str, "JsonValue"]
"""A JSON object whose fields are not fixed in the code: a definition of any family, a schema, parsed input."""

V = TypeVar("V", bound="Value")


@dataclass(frozen=True)
class Integer:
    """Bounds of an integer field, both inclusive."""

    minimum: int
    maximum: int
    doc: str


@dataclass(frozen=True)
class Number:
    """Bounds of a field that holds a double, both inclusive."""

    minimum: float
    maximum: float
    doc: str


@dataclass(frozen=True)
class Text:
    """A text field: its maximum length, and the pattern that the whole text must match."""

    longest: int
    pattern: str
    doc: str


@dataclass(frozen=True)
class Choice:
    """The allowed values of a text field."""

    options: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class Nested:
    """A field that holds another value."""

    kind: type[Value]
    doc: str


@dataclass(frozen=True)
class Sequence:
    """A field that holds a tuple of values, with bounds on its length."""

    kind: type[Value]
    minimum: int
    maximum: int
    doc: str


Spec = Integer | Number | Choice | Text | Nested | Sequence


def integer(
    minimum: int,
    maximum: int,
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    example: int | None = None,
    added: bool = False,
) -> Any:
    """Declare an integer field with inclusive bounds.

    Args:
        minimum: The least value.
        maximum: The greatest value.
        doc: A sentence that describes the field, for the JSON Schema.
        default: The value of a field that is left out; without one the field is required.
        example: A value for the documentation; without one the default, or the first value that is allowed.
        added: Whether the field came later: it is not written at its default, so that older values keep their form.
    """
    return _declared(Integer(minimum, maximum, doc), default, example, added=added)


def number(
    minimum: float,
    maximum: float,
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    example: float | None = None,
    added: bool = False,
) -> Any:
    """Declare a field that holds a double, with inclusive bounds.

    Args:
        minimum: The least value.
        maximum: The greatest value.
        doc: A sentence that describes the field, for the JSON Schema.
        default: The value of a field that is left out; without one the field is required.
        example: A value for the documentation; without one the default, or the first value that is allowed.
        added: Whether the field came later: it is not written at its default, so that older values keep their form.
    """
    return _declared(Number(minimum, maximum, doc), default, example, added=added)


def text(
    longest: int, pattern: str, doc: str, default: Any = dataclasses.MISSING, *, example: str | None = None
) -> Any:
    """Declare a text field with a maximum length whose whole text must match a pattern.

    Args:
        longest: The most characters.
        pattern: A regular expression that the whole text must match.
        doc: A sentence that describes the field, for the JSON Schema and for the error of a text that does not match.
        default: The value of a field that is left out; without one the field is required.
        example: A value for the documentation; without one the default, or the first value that is allowed.
    """
    return _declared(Text(longest, pattern, doc), default, example)


def choice(
    options: tuple[str, ...],
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    example: str | None = None,
    added: bool = False,
) -> Any:
    """Declare a text field with a fixed set of values.

    Args:
        options: The allowed values.
        doc: A sentence that describes the field, for the JSON Schema.
        default: The value of a field that is left out; without one the field is required.
        example: A value for the documentation; without one the default, or the first value that is allowed.
        added: Whether the field came later: it is not written at its default, so that older values keep their form.
    """
    return _declared(Choice(options, doc), default, example, added=added)


def nested(kind: type[Value], doc: str) -> Any:
    """Declare a required field that holds another value.

    Args:
        kind: The class of the value.
        doc: A sentence that describes the field, for the JSON Schema.
    """
    return dataclasses.field(metadata={"spec": Nested(kind, doc)})


def sequence(
    kind: type[Value], minimum: int, maximum: int, doc: str, default: Any = dataclasses.MISSING, *, added: bool = False
) -> Any:
    """Declare a field that holds a tuple of values.

    Args:
        kind: The class of the values.
        minimum: The least number of values.
        maximum: The greatest number of values.
        doc: A sentence that describes the field, for the JSON Schema.
        default: The value of a field that is left out; without one the field is required.
        added: Whether the field came later: it is not written at its default, so that older values keep their form.
    """
    spec = Sequence(kind, minimum, maximum, doc)
    return dataclasses.field(default=default, metadata={"spec": spec, "added": added})


@dataclass(frozen=True, kw_only=True)
class Value:
    """A frozen value whose declared bounds hold from its creation."""

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        for field, spec in specs(type(self)):
            value = getattr(self, field)
            # most fields are valid integers: this spares them the call of a generator
            if not (type(value) is int and isinstance(spec, Integer) and spec.minimum <= value <= spec.maximum):
                problems += _check(spec, value, field)
        if not problems:
            problems = list(self.cross_check())
        if problems:
            raise DefinitionError(problems)

    def cross_check(self) -> Iterator[Problem]:
        """Yield problems between fields that are each valid."""
        yield from ()


def _declared(spec: Spec, default: Any, example: Any, *, added: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"spec": spec, "example": example, "added": added})


Specs: TypeAlias = "tuple[tuple[str, Spec], ...]"
_specs: dict[type[Value], Specs] = {}


def specs(kind: type[Value]) -> Specs:
    """Return the declared fields of a value's class, in order."""
    if kind not in _specs:
        _specs[kind] = tuple((f.name, f.metadata["spec"]) for f in dataclasses.fields(kind))
    return _specs[kind]


_unwritten_fields: dict[type[Value], dict[str, object]] = {}


def _unwritten(kind: type[Value]) -> dict[str, object]:
    """Return the defaults of the fields that came later, which are not written at them."""
    if kind not in _unwritten_fields:
        fields = dataclasses.fields(kind)
        _unwritten_fields[kind] = {field.name: field.default for field in fields if field.metadata.get("added")}
    return _unwritten_fields[kind]


def has_later_fields(value: Value) -> bool:
    """Return whether a value, or one inside it, has a field that came later at another value than its default.

    Args:
        value: The value.
    """
    if any(getattr(value, name) != default for name, default in _unwritten(type(value)).items()):
        return True
    fields = (getattr(value, name) for name, _ in specs(type(value)))
    parts = (part for field in fields for part in (field if isinstance(field, tuple) else (field,)))
    return any(has_later_fields(part) for part in parts if isinstance(part, Value))


def check_integer(value: object, minimum: int, maximum: int, field: str) -> Iterator[Problem]:
    """Yield a problem for a value that is not an integer within the bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        yield Problem(field, "not_an_integer", "must be an integer")
    elif value < minimum:
        yield Problem(field, "too_small", f"must be at least {minimum}")
    elif value > maximum:
        yield Problem(field, "too_large", f"must be at most {maximum}")


def _check(spec: Spec, value: Any, field: str) -> Iterator[Problem]:
    match spec:
        case Integer():
            yield from check_integer(value, spec.minimum, spec.maximum, field)
        case Number():
            yield from _check_number(spec, value, field)
        case Text():
            yield from _check_text(spec, value, field)
        case Choice():
            if value not in spec.options:
                yield Problem(field, "unknown_choice", one_of(value, spec.options))
        case Nested():
            if not isinstance(value, spec.kind):
                yield Problem(field, "not_an_object", "must be an object")
        case Sequence():
            yield from _check_sequence(spec, value, field)


def _check_number(spec: Number, value: Any, field: str) -> Iterator[Problem]:
    if not isinstance(value, float) or not math.isfinite(value):
        yield Problem(field, "not_a_number", "must be a finite number")
    elif value < spec.minimum:
        yield Problem(field, "too_small", f"must be at least {spec.minimum:g}")
    elif value > spec.maximum:
        yield Problem(field, "too_large", f"must be at most {spec.maximum:g}")


def _check_text(spec: Text, value: Any, field: str) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(field, "not_a_string", "must be a string")
    elif len(value) > spec.longest:
        yield Problem(field, "too_long", f"must have at most {spec.longest} characters")
    elif not re.fullmatch(spec.pattern, value):
        yield Problem(field, "bad_text", f"must be {spec.doc[:1].lower()}{spec.doc[1:].rstrip('.')}")


def _check_sequence(spec: Sequence, value: Any, field: str) -> Iterator[Problem]:
    if not isinstance(value, tuple) or not all(isinstance(item, spec.kind) for item in value):
        yield Problem(field, "not_a_list", "must be a list of objects")
    elif not spec.minimum <= len(value) <= spec.maximum:
        yield Problem(field, "bad_length", f"must have {spec.minimum} to {spec.maximum} entries")


def is_number(value: object) -> bool:
    """Return whether a value can be compared with limits; integers of any size can, where a float would overflow."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def as_integer(data: object) -> object:
    """Convert 1e6 to an integer; leave every other value unchanged (JSON does not distinguish 1.0 from 1)."""
    return int(data) if isinstance(data, float) and data.is_integer() else data


def as_number(data: object) -> object:
    """Convert an integer to a double; leave every other value unchanged (JSON does not distinguish 1 from 1.0)."""
    if isinstance(data, int) and not isinstance(data, bool) and abs(data) <= LARGEST_INTEGER:
        return float(data)
    return data


def decode(kind: type[V], data: object, also_allowed: frozenset[str] = frozenset()) -> V:
    """Read a value from parsed JSON.

    Args:
        kind: The class of the value.
        data: The object to read.
        also_allowed: The keys that the caller has read itself.

    Raises:
        DefinitionError: The data is wrong; it has every problem found.
    """
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object")
    problems = list(unknown_fields(data, {name for name, _ in specs(kind)} | also_allowed))
    arguments: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.name in data:
            try:
                arguments[field.name] = _decode_field(field.metadata["spec"], data[field.name])
            except DefinitionError as error:
                problems += error.under(field.name).problems
        elif field.default is dataclasses.MISSING:
            problems.append(Problem(field.name, "required", "is required"))
    if problems:
        raise DefinitionError(problems)
    return kind(**arguments)


def unknown_fields(data: Mapping[str, Any], known: set[str] | frozenset[str]) -> Iterator[Problem]:
    """Yield a problem for each unknown key."""
    for key in data:
        if key not in known:
            yield Problem(printable(key), "unknown_field", unknown_field_message(printable(key), known))


def unknown_field_message(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown field; it suggests the known field with a similar name, if there is one."""
    similar = most_similar(name, known)
    return f'Unknown field "{name}".' + (f' Did you mean "{similar}"?' if similar else "")


def most_similar(name: object, known: Iterable[str]) -> str:
    """Return the known name that is most similar to a wrong one; empty where none is."""
    import difflib  # imported here: only wrong requests need it

    spelled = name[:64].lower() if isinstance(name, str) else ""
    return next(iter(difflib.get_close_matches(spelled, sorted(known), n=1)), "")


def one_of(name: object, known: Iterable[str], before: str = "", after: str = "") -> str:
    """Return the message for a name that is not a known one; it suggests the known name that is most similar.

    Args:
        name: The wrong name, which the message does not repeat.
        known: The known names, in order.
        before: What may be given in place of a name, with its conjunction: "a full definition or ".
        after: The same, after the names: ", or a profile".
    """
    names = list(known)
    similar = most_similar(name, names)
    hint = f'; did you mean "{similar}"?' if similar else ""
    return f"must be {before}one of {', '.join(names)}{after}{hint}"


def printable(key: object) -> str:
    """Return a caller's key, shortened and without unprintable characters, for the field path of an error."""
    text = str(key)[:64]
    return "".join(c if c.isprintable() else "?" for c in text)


def _decode_field(spec: Spec, data: object) -> Any:
    match spec:
        case Integer():
            return as_integer(data)
        case Number():
            return as_number(data)
        case Text():
            return data
        case Choice():
            return data if isinstance(data, str) else None
        case Nested():
            return decode(spec.kind, data)
        case Sequence():
            return _decode_sequence(spec, data)


def _decode_sequence(spec: Sequence, data: object) -> tuple[Value, ...]:
    if not isinstance(data, list):
        raise DefinitionError.at("", "not_a_list", "must be a list of objects")
    if len(data) > spec.maximum:
        raise DefinitionError.at("", "bad_length", f"must have {spec.minimum} to {spec.maximum} entries")
    items: list[Value] = []
    problems: list[Problem] = []
    for index, entry in enumerate(data):
        try:
            items.append(decode(spec.kind, entry))
        except DefinitionError as error:
            problems += error.under(str(index)).problems
    if problems:
        raise DefinitionError(problems)
    return tuple(items)


def encode(value: Value) -> JsonObject:
    """Write a value as JSON-ready objects, fields in the order of their declaration.

    A field that was added later is left out at its default.

    Args:
        value: The value; `decode` with its class reads the result back to an equal value.
    """
    kind = type(value)
    unwritten = _unwritten(kind)
    fields = ((name, spec, getattr(value, name)) for name, spec in specs(kind))
    return {
        name: _encode_field(spec, field)
        for name, spec, field in fields
        if name not in unwritten or field != unwritten[name]
    }


def _encode_field(spec: Spec, value: Any) -> Any:
    if type(spec) is Integer:
        return value
    if isinstance(spec, Nested):
        return encode(value)
    if isinstance(spec, Sequence):
        return [encode(item) for item in value]
    return value


def json_schema(
    kind: type[Value], head: abc.Mapping[str, JsonValue] | None = None, required: tuple[str, ...] = ()
) -> JsonObject:
    """Describe a value's JSON form as JSON Schema, for the OpenAPI document.

    Args:
        kind: The class of the value.
        head: The schemas of the fields that the caller reads itself, by name.
        required: The names of those fields that must be there.
    """
    fields = dataclasses.fields(kind)
    properties = {**(head or {}), **{f.name: _described(f) for f in fields}}
    needed = {*required, *(f.name for f in fields if f.default is dataclasses.MISSING)}
    return object_schema(kind.__name__, properties, optional=properties.keys() - needed)


def object_schema(
    title: str, properties: abc.Mapping[str, JsonValue], *, optional: abc.Collection[str] = ()
) -> JsonObject:
    """Describe an object of fixed fields as JSON Schema.

    Args:
        title: The name of the object's class in generated clients: CamelCase, and different for different objects.
        properties: The schemas of the fields, by name.
        optional: The names of the fields that may be left out.
    """
    return {
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in properties if name not in optional],
        "properties": dict(properties),
    }


def field_schema(kind: type[Value], name: str) -> JsonValue:
    """Describe one field of a value as JSON Schema.

    Args:
        kind: The class of the value.
        name: The name of the field.
    """
    return next(_described(field) for field in dataclasses.fields(kind) if field.name == name)


def choice_schema(options: abc.Sequence[str], doc: str) -> JsonObject:
    """Describe a text of fixed values as JSON Schema, with the first as the example; a single value as a constant.

    Args:
        options: The allowed values.
        doc: A sentence that describes the field.
    """
    allowed: JsonObject = {"const": options[0]} if len(options) == 1 else {"enum": list(options)}
    return {"type": "string", **allowed, "description": doc, "examples": [options[0]]}


def _described(field: dataclasses.Field[Any]) -> JsonObject:
    spec, example = field.metadata["spec"], field.metadata.get("example")
    if isinstance(spec, Nested | Sequence):
        return _field_schema(spec)  # the fields of the inner values have their examples
    default: JsonObject = {} if field.default is dataclasses.MISSING else {"default": field.default}
    if example is None:
        example = default.get("default", _first(spec))
    return {**_field_schema(spec), **default, "examples": [example]}


def _first(spec: Integer | Number | Text | Choice) -> JsonValue:
    match spec:
        case Choice():
            return spec.options[0]
        case Text():
            return ""
    return spec.minimum


def _field_schema(spec: Spec) -> JsonObject:
    match spec:
        case Integer():
            return {
                "type": "integer",
                "minimum": spec.minimum,
                "maximum": spec.maximum,
                "description": spec.doc,
            }
        case Number():
            return {
                "type": "number",
                "minimum": spec.minimum,
                "maximum": spec.maximum,
                "description": spec.doc,
            }
        case Text():
            return {
                "type": "string",
                "maxLength": spec.longest,
                "pattern": f"^(?:{spec.pattern})$",
                "description": spec.doc,
            }
        case Choice():
            return {"type": "string", "enum": list(spec.options), "description": spec.doc}
        case Nested():
            return json_schema(spec.kind) | {"description": spec.doc}
        case Sequence():
            return {
                "type": "array",
                "items": json_schema(spec.kind),
                "minItems": spec.minimum,
                "maxItems": spec.maximum,
                "description": spec.doc,
            }


def canonical_json(data: Any) -> str:
    """Write JSON in its canonical form: keys sorted, no spaces, ASCII, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of(data: Any) -> str:
    """Return the hex SHA-256 of the canonical JSON of `data`."""
    return hashlib.sha256(canonical_json(data).encode("ascii")).hexdigest()


__all__ = [
    "LARGEST_INTEGER",
    "Value",
    "as_integer",
    "as_number",
    "canonical_json",
    "check_integer",
    "choice",
    "choice_schema",
    "decode",
    "encode",
    "field_schema",
    "integer",
    "join_path",
    "json_schema",
    "most_similar",
    "nested",
    "number",
    "object_schema",
    "one_of",
    "printable",
    "sequence",
    "sha256_of",
    "text",
    "unknown_fields",
]

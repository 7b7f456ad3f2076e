"""Frozen dataclasses read from JSON. Unknown fields of a newer service are ignored, and available in `raw`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from datetime import datetime
from typing import Any, Self

from nnmass.errors import ServiceError

Json = Mapping[str, Any]


def json_field(read: Callable[[Any], Any] | None = None, *, name: str = "", **more: Any) -> Any:
    """Declare a field. read: converts the JSON value, unless it is null. name: the JSON name, where it differs."""
    return field(metadata={"read": read, "name": name}, **more)


@dataclass(frozen=True, kw_only=True)
class FromJson:
    """A result of the service, or of a local function. `raw` is the JSON itself."""

    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Json) -> Self:
        """Read it from parsed JSON.

        Args:
            data: The JSON object of a response; unknown fields are ignored.

        Raises:
            ServiceError: A required field is missing or wrong.
        """
        try:
            return cls(**dict(_arguments(cls, data)), raw=data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"the response is not a valid {cls.__name__}: {error}"
            raise ServiceError(200, "unexpected_answer", message) from error


def _arguments(kind: type[FromJson], data: Json) -> Iterator[tuple[str, Any]]:
    for one in _fields_of(kind):
        if one.optional and one.key not in data:
            continue
        value = data[one.key]
        yield one.name, value if one.read is None or value is None else one.read(value)


@dataclass(frozen=True)
class _Field:
    """A field of a class, its name in JSON, whether it may be missing, and what converts its value."""

    name: str
    key: str
    optional: bool
    read: Callable[[Any], Any] | None


_fields: dict[type[FromJson], list[_Field]] = {}


def _fields_of(kind: type[FromJson]) -> list[_Field]:
    if kind not in _fields:
        _fields[kind] = [
            _Field(
                one.name,
                one.metadata.get("name") or one.name,
                one.default is not MISSING or one.default_factory is not MISSING,
                one.metadata.get("read"),
            )
            for one in dataclasses.fields(kind)
            if one.name != "raw"
        ]
    return _fields[kind]


def moment(text: str) -> datetime:
    """Parse a date and time with its time zone."""
    return datetime.fromisoformat(text)


def several(kind: type[FromJson]) -> Callable[[Any], tuple[Any, ...]]:
    """Return the reader of a list of such values."""
    return lambda items: tuple(kind.from_json(item) for item in items)

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
    for one in dataclasses.fields(kind):
        name = one.metadata.get("name") or one.name
        has_default = one.default is not MISSING or one.default_factory is not MISSING
        if one.name == "raw" or (name not in data and has_default):
            continue
        value, read = data[name], one.metadata.get("read")
        yield one.name, value if read is None or value is None else read(value)


def moment(text: str) -> datetime:
    """Parse a date and time with its time zone."""
    return datetime.fromisoformat(text)


def several(kind: type[FromJson]) -> Callable[[Any], tuple[Any, ...]]:
    """Return the reader of a list of such values."""
    return lambda items: tuple(kind.from_json(item) for item in items)

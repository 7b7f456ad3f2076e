"""The OpenAPI document in the form that generators of clients can read: every object has a name and is there once.

FastAPI writes a schema where it is used, except Pydantic's models. The core's schemas, which name their objects by
`title`, become components too, so that a client has one class for a network wherever networks appear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from nnmass_core.codec import as_integer, canonical_json
from nnmass_core.spaces.axis import range_schema

# untyped: FastAPI's documents are of this type, and the code walks through all of them

REFERENCE = "#/components/schemas/{model}"
CLASS_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
LIST_NAME = re.compile(r"[A-Z][a-z]+Name")
"""The title of a list of names; FastAPI's titles of fields have spaces."""

LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
"""Keywords of a schema that hold a list of schemas."""

PARTS = ("items", "additionalProperties", "contentSchema")
"""Keywords of a schema that hold a schema."""

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""Keywords of a schema that hold a number."""

BESIDE = ("description", "default", "examples")
"""What a place says about an object there, beside its reference."""

RANGE = "Range"
"""The one object with other bounds in each place: `properties` beside its reference has those of the place."""

Schema = dict[str, Any]


def operation_id(route: APIRoute) -> str:
    """Return the id of a route's operation: the name of its function, which is the function's name in a client too."""
    return route.name


def readable(make: Callable[[], Schema], models: tuple[type[BaseModel], ...]) -> Callable[[], Schema]:
    """Return a builder of the OpenAPI document in which every object is a component.

    make: builds FastAPI's document. models: those that `REFERENCE` names in it, which FastAPI does not know.
    """

    @cache
    def document() -> Schema:
        described = make()
        schemas: Schema = described["components"]["schemas"]
        _, more = models_json_schema([(model, "serialization") for model in models], ref_template=REFERENCE)
        components = Components(schemas | more["$defs"])
        for place, key in _places(described):
            place[key] = components.refer(place[key])
        described["components"]["schemas"] = dict(sorted(components.schemas.items()))
        return described

    return document


class Components:
    """The named schemas of a document, each without another object inside.

    Args:
        schemas: The schemas that have names.
    """

    def __init__(self, schemas: Schema) -> None:
        self.schemas: Schema = {RANGE: {**range_schema(), "title": RANGE}, **schemas}
        self._names: dict[str, str] = {}
        for name, schema in schemas.items():
            self.schemas[name] = {**self._inner(schema), "title": name}

    def refer(self, schema: Schema) -> Schema:
        """Return a schema that holds no object and no list of names, but references to them."""
        title = schema.get("title", "")
        inner = self._inner(_untitled(schema))
        if not {"properties", "oneOf"} & set(inner) and not ("enum" in inner and LIST_NAME.fullmatch(title)):
            return inner
        beside = {key: inner.pop(key) for key in BESIDE if key in inner}
        name = self._names.setdefault(canonical_json(inner), self._free(title))
        if not name:
            return inner | beside
        self.schemas.setdefault(name, {**inner, "title": name})
        narrower = {"properties": inner["properties"]} if name == RANGE else {}
        return {"$ref": REFERENCE.format(model=name), **narrower, **beside}

    def _free(self, title: str) -> str:
        """Return the name of a new component; empty for an object that stays where it is, as nothing names it."""
        return title if title == RANGE or (CLASS_NAME.fullmatch(title) and title not in self.schemas) else ""

    def _inner(self, schema: Schema) -> Schema:
        """Return a schema in which every object inside is a reference."""
        # FastAPI writes some bounds of integers as 1.0 and others as 1
        inner: Schema = {key: as_integer(value) if key in BOUNDS else value for key, value in schema.items()}
        for keyword in LISTS:
            if keyword in inner:
                inner[keyword] = [self.refer(one) for one in inner[keyword]]
        for keyword in PARTS:
            if isinstance(inner.get(keyword), dict):
                inner[keyword] = self.refer(inner[keyword])
        if "properties" in inner:
            inner["properties"] = {name: self.refer(one) for name, one in inner["properties"].items()}
        return inner


def _untitled(schema: Schema) -> Schema:
    """Return a schema without its title: only names of components are of use to readers."""
    return {keyword: value for keyword, value in schema.items() if keyword != "title"}


def _places(document: Schema) -> Iterator[tuple[Schema, str]]:
    """Yield the places of all schemas outside the components: an object, and the key of the schema in it.

    A parameter may be left out, but it cannot be null.
    """
    for operation in (operation for item in document["paths"].values() for operation in item.values()):
        for parameter in operation.get("parameters", []):
            match parameter["schema"]:
                case {"anyOf": [kind, {"type": "null"}], **rest}:
                    parameter["schema"] = rest | kind
            parameter["schema"].pop("description", None)  # the parameter itself has it
            yield parameter, "schema"
        answers = operation["responses"].values()
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for content in (content for one in (*bodies, *answers) for content in one.get("content", {}).values()):
            yield from ((content, key) for key in ("schema", "itemSchema") if content.get(key))
        yield from ((header, "schema") for answer in answers for header in answer.get("headers", {}).values())

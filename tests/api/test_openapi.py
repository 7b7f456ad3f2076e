"""The OpenAPI document is one that generators of clients can read, and describes every field."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.api.everything import described, operations_of

OPERATION_IDS = Path(__file__).with_name("operation_ids.txt")
"""The id of every operation: a client's function has this name, so that a change of one breaks its users."""

LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
PARTS = ("items", "additionalProperties", "contentSchema")

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Schema:
    return described()


def inside(schema: Schema, where: str) -> Iterator[tuple[str, Schema]]:
    """Yield a schema and every schema inside it, with its place."""
    yield where, schema
    if "$ref" in schema:
        return  # what stands beside it narrows what it refers to
    for keyword in LISTS:
        for one in schema.get(keyword, []):
            yield from inside(one, where)
    for keyword in PARTS:
        if isinstance(schema.get(keyword), dict):
            yield from inside(schema[keyword], f"{where}.*")
    for name, one in schema.get("properties", {}).items():
        yield from inside(one, f"{where}.{name}")


def roots(document: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield every schema that is not inside another: components, parameters, bodies and headers, with its place."""
    yield from document["components"]["schemas"].items()
    for method, path, operation in operations_of(document):
        label = f"{method.upper()} {path}"
        for parameter in operation.get("parameters", []):
            yield f"{label} {parameter['name']}", parameter["schema"]
        answers = operation["responses"]
        for kind, content in operation.get("requestBody", {"content": {}})["content"].items():
            yield f"{label} body {kind}", content["schema"]
        for status, answer in answers.items():
            for kind, content in answer.get("content", {}).items():
                yield from (
                    (f"{label} {status} {kind}", content[key]) for key in ("schema", "itemSchema") if key in content
                )
            for name, header in answer.get("headers", {}).items():
                yield f"{label} {status} header {name}", header["schema"]


def everywhere(document: Schema) -> Iterator[tuple[str, Schema]]:
    for place, schema in roots(document):
        yield from inside(schema, place)


def refers(schema: Schema) -> bool:
    """Return whether a field holds objects of the components alone, whose fields have their own examples."""
    if "$ref" in schema:
        return True
    if isinstance(schema.get("items"), dict):
        return refers(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        return refers(schema["additionalProperties"])
    kinds = [kind for way in ("anyOf", "oneOf") for kind in schema.get(way, []) if kind.get("type") != "null"]
    return bool(kinds) and all(map(refers, kinds))


def fields(document: Schema) -> Iterator[tuple[str, Schema, str]]:
    """Yield every field of a body or an answer, parameter and header: its place, its schema and its description."""
    components = document["components"]["schemas"]
    for place, schema in everywhere(document):
        for name, one in schema.get("properties", {}).items() if "$ref" not in schema else ():
            target = components[one["$ref"].rpartition("/")[2]] if "$ref" in one else {}
            yield f"{place}.{name}", one, one.get("description") or target.get("description", "")
    for method, path, operation in operations_of(document):
        for one in operation.get("parameters", []):
            yield f"{method.upper()} {path} {one['name']}", one["schema"], one.get("description", "")
        for status, answer in operation["responses"].items():
            for name, one in answer.get("headers", {}).items():
                yield f"{method.upper()} {path} {status} {name}", one["schema"], one.get("description", "")


def test_names_of_components_are_those_of_classes(document: Schema) -> None:
    names = list(document["components"]["schemas"])
    assert [name for name in names if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)] == []
    assert [name for name, times in Counter(map(str.lower, names)).items() if times > 1] == []
    wrong = {name for name, one in document["components"]["schemas"].items() if one.get("title", name) != name}
    assert wrong == set()


def test_every_object_with_fields_is_a_component(document: Schema) -> None:
    """A generator makes up a name for an object without one, which another version of it makes up differently."""
    components = document["components"]["schemas"]
    inline = {
        place
        for place, schema in everywhere(document)
        if {"properties", "oneOf"} & set(schema) and "$ref" not in schema and schema is not components.get(place)
    }
    assert inline == set(), "give the schema a title: app/http/openapi_document.py makes it a component"


def test_no_object_is_free(document: Schema) -> None:
    """A client would have a dictionary of anything there."""
    free = [
        place
        for place, schema in everywhere(document)
        if schema.get("type") == "object"
        and "properties" not in schema
        and not isinstance(schema.get("additionalProperties"), dict)
    ]
    assert free == [], "describe what it contains: DescribedBy gives a stored object the schema of a model"


def test_every_list_of_names_is_a_component(document: Schema) -> None:
    """A class of its own in a client, such as PresetName, and not one with a number for each place."""
    components = document["components"]["schemas"]
    inline = {
        place
        for place, schema in everywhere(document)
        for one in schema.get("anyOf", [])
        if "enum" in one and [kind.get("type") for kind in schema["anyOf"]] != ["string", "null"]
    }
    assert inline == set(), "give the list a title that ends in Name"
    assert {"PresetName", "DeviceName", "DatasetName", "RecipeName", "NetworkName"} <= set(components)


def test_operation_ids_are_stable(document: Schema) -> None:
    found = [operation["operationId"] for _, _, operation in operations_of(document)]
    assert [name for name in found if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    assert [name for name, times in Counter(found).items() if times > 1] == [], "rename the function of the route"
    rule = f"a client's function has this name: add a new one to {OPERATION_IDS.name}, and rename or remove none"
    assert sorted(found) == OPERATION_IDS.read_text(encoding="utf-8").split(), rule


def test_every_error_refers_to_one_schema(document: Schema) -> None:
    wrong = [
        f"{method.upper()} {path} {status}"
        for method, path, operation in operations_of(document)
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {"none": {}}).values()
        if status >= "400" and list(content.get("schema", {})) != ["$ref"]
    ]
    assert wrong == [], "describe errors with app.http.fields.problems"


def test_every_field_has_a_description(document: Schema) -> None:
    missing = [place for place, _, about in fields(document) if not about.endswith(".")]
    assert missing == [], "give each a description, a sentence with its unit: Field(description=...)"


def test_every_field_has_an_example(document: Schema) -> None:
    missing = [place for place, schema, _ in fields(document) if not schema.get("examples") and not refers(schema)]
    assert missing == [], "give each an example: Field(examples=[...])"


def test_every_example_is_valid(document: Schema) -> None:
    wrong = []
    for place, schema in everywhere(document):
        for example in schema.get("examples", []):
            whole = {**schema, "components": document["components"]}
            checker = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
            wrong += [f"{place}: {error.message[:200]}" for error in checker.iter_errors(example)]
    assert wrong == []


UNITS = {
    r"_bytes$": r"\bbytes\b",
    r"_ms$": r"\b(ms|milliseconds)\b",
    r"(^|_)seconds($|_)": r"\b(in s|s|seconds?)\b",
    r"_elements$": r"\belements\b",
    r"(^|_)accuracy$": r"\[0, 1\]|\baccuracy\b",
    r"_at$": r"\bUTC\b",
}
"""What the description of a field must say, for names of fields that have a unit."""


def test_descriptions_name_the_unit(document: Schema) -> None:
    silent = [
        place
        for place, schema, about in fields(document)
        for name, unit in UNITS.items()
        if re.search(name, place.rpartition(".")[2])
        and not re.search(unit, about, re.IGNORECASE)
        and not refers(schema)
    ]
    assert silent == []


def test_every_constant_has_a_type(document: Schema) -> None:
    assert [place for place, schema in everywhere(document) if "const" in schema and "type" not in schema] == []


def test_the_document_is_valid_and_refers_to_nothing_else(document: Schema) -> None:
    schemas = document["components"]["schemas"]
    named = {schema["$ref"] for _, schema in everywhere(document) if "$ref" in schema}
    assert {name.removeprefix("#/components/schemas/") for name in named} <= set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)

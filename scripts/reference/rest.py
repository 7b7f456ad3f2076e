"""The REST reference, from the OpenAPI document of the application itself."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.reference.schemas import anchor, fields_table, type_of
from scripts.reference.text import code, one_line, page, prose, table

Document = dict[str, Any]

ABOUT = """Every route that the service has, from the OpenAPI document that it serves itself at `/openapi.json`. A
running service shows the same at `/docs`, where requests can be tried.

Bodies and answers are JSON. Lists answer `items` and `next_cursor`; the cursor goes back as `cursor` until it is
null. Once there are keys, every request but `/healthz`, `/readyz` and the documentation carries `Authorization:
Bearer nnm_...` ([keys and owners](../running.md#keys-and-owners)). Searches take [definitions of networks and
spaces](definitions.md) and [names](names.md) of them."""

CLIENTS = """Generators make clients from `/openapi.json`: its objects and operations have names that stay. CI runs a
search and a verification through two of them:

```console
$ openapi-python-client generate --url http://127.0.0.1:8000/openapi.json --config generator.yaml
$ npx openapi-typescript@7.13 http://127.0.0.1:8000/openapi.json --output schema.d.ts --default-non-nullable false
```

`generator.yaml` has `content_type_overrides: {image/svg+xml: application/octet-stream}`, as the Python generator does
not know SVG. The option of the other says that a field with a default may be left out. `tests/generated` has a small
program for each."""

ERRORS = """Errors are `application/problem+json` (RFC 9457). `code` is for programs; `errors` names each field by
its dotted path, such as `budget.max_params`. What was sent is never echoed."""

BODIES = """What routes take and answer. Each name is one that the [routes](rest.md) link to."""


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def title(self) -> str:
        """The operation's title in the reference and in its test."""
        return f"{self.method.upper()} {self.path}"

    @property
    def anchor(self) -> str:
        """The operation's anchor on the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def openapi() -> Document:
    """Return the OpenAPI document of the application."""
    from app.config import Settings
    from app.main import create_app

    with tempfile.TemporaryDirectory() as folder:
        return create_app(Settings(data_dir=Path(folder), database_url=None, broker_url=None)).openapi()


def operations(document: Document) -> list[Operation]:
    """Return every operation, in the order of the application."""
    return [
        Operation(method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def routes_page(document: Document) -> str:
    """Return the page of routes, by feature."""
    features: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations(document):
        features[operation.described["tags"][0]].append(operation)
    parts = [
        "# REST",
        ABOUT,
        _contents(features),
        "## Generated clients",
        CLIENTS,
        "## Errors",
        ERRORS,
        _errors_table(document),
    ]
    for feature, members in features.items():
        parts += [f"## {feature.capitalize()}", *(_section(member) for member in members)]
    return page(*parts)


def _contents(features: dict[str, list[Operation]]) -> str:
    rows = (
        (f"[{code(one.title)}](#{one.anchor})", _first_sentence(one))
        for members in features.values()
        for one in members
    )
    return table(("route", ""), rows)


def _first_sentence(operation: Operation) -> str:
    text = one_line(operation.described.get("description", operation.described["summary"]))
    return re.split(r"(?<=[.;:]) ", text, maxsplit=1)[0].rstrip(";:")


def _errors_table(document: Document) -> str:
    meanings: dict[str, list[str]] = defaultdict(list)
    for operation in operations(document):
        for status, answer in operation.described["responses"].items():
            if status >= "400" and answer["description"] not in meanings[status]:
                meanings[status].append(answer["description"])
    rows = ((status, " Or: ".join(map(one_line, meanings[status]))) for status in sorted(meanings))
    return table(("status", "when"), rows)


def _section(operation: Operation) -> str:
    described = operation.described
    return page(
        f"### {code(operation.title)} {{ #{operation.anchor} }}",
        prose(described.get("description", "")),
        _parameters(described.get("parameters", [])),
        _body(described.get("requestBody")),
        *_answers(described["responses"]),
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = (
        (
            code(one["name"]),
            one["in"],
            type_of(one["schema"]) + ("" if one["required"] else ", optional") + _default(one["schema"]),
            one_line(one.get("description", "")),
        )
        for one in parameters
    )
    return table(("parameter", "in", "type", "meaning"), rows)


def _default(schema: dict[str, Any]) -> str:
    return f", default {code(schema['default'])}" if schema.get("default") is not None else ""


def _body(body: dict[str, Any] | None) -> str:
    if body is None:
        return ""
    (schema,) = (content["schema"] for content in body["content"].values())
    return f"Body: {type_of(schema)}."


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    good = sorted(status for status in responses if status < "400")
    yield table(("answer", "when", "body"), ((status, *_answer(responses[status])) for status in good))
    errors = sorted(status for status in responses if status >= "400")
    yield f"[Errors](#errors): {', '.join(errors)}."


def _answer(answer: dict[str, Any]) -> tuple[str, str]:
    when = answer["description"]
    kinds = (_content(kind, content) for kind, content in answer.get("content", {}).items())
    return "" if when == "Successful Response" else one_line(when), " or ".join(kinds)


def _content(kind: str, content: dict[str, Any]) -> str:
    if kind == "application/json" and content.get("schema"):
        return type_of(content["schema"])
    return code(kind)


def bodies_page(document: Document) -> str:
    """Return the page of shared bodies."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    parts = ["# Bodies and answers", BODIES]
    for name, schema in sorted(schemas.items()):
        parts += [
            f"## {name} {{ #{anchor(name)} }}",
            prose(schema.get("description", "")),
            fields_table(schema) or f"{type_of(schema)}.",
        ]
    return page(*parts)

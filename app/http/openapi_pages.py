"""The OpenAPI document and its pages, which load nothing from other hosts and run only our own scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse

# untyped: FastAPI's documents are of this type, and the code walks through all of them

FILES = "/static-offline-docs"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def install(app: FastAPI) -> None:
    """Add `/docs` and `/redoc`; their files are those that fastapi-offline has mounted."""
    app.openapi = _without_null_parameters(app.openapi)  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def swagger_ui(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return _guarded(
            get_swagger_ui_html(
                openapi_url=f"{root}/openapi.json",
                title=f"{app.title} - Swagger UI",
                swagger_js_url=f"{root}{FILES}/swagger-ui-bundle.js",
                swagger_css_url=f"{root}{FILES}/swagger-ui.css",
                swagger_favicon_url=f"{root}{FILES}/favicon.png",
            )
        )

    @app.get("/redoc", include_in_schema=False)
    def redoc(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return _guarded(
            get_redoc_html(
                openapi_url=f"{root}/openapi.json",
                title=f"{app.title} - ReDoc",
                redoc_js_url=f"{root}{FILES}/redoc.standalone.js",
                redoc_favicon_url=f"{root}{FILES}/favicon.png",
                with_google_fonts=False,
            )
        )


def _without_null_parameters(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """Return a builder of the OpenAPI document in which optional parameters may be left out, but not be null."""

    @cache
    def document() -> dict[str, Any]:
        described = make()
        for item in described["paths"].values():
            for operation in item.values():
                for parameter in operation.get("parameters", []):
                    parameter["schema"] = _not_null(parameter["schema"])
        return described

    return document


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    match schema:
        case {"anyOf": [kind, {"type": "null"}], **rest}:
            schema = rest | kind
    return schema


def _guarded(page: HTMLResponse) -> HTMLResponse:
    """Return a page that may run this host's scripts and its inline scripts, which are identified by their hashes.

    Both pages create style sheets while they run, whose hashes cannot be known in advance. ReDoc searches in a worker.
    """
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(page.body)]
    scripts = " ".join(["'self'", *(f"'sha256-{value}'" for value in hashes)])
    page.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    )
    return page

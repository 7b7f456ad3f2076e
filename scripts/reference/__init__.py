"""Reference pages, generated from the code when the documentation is built."""

from __future__ import annotations

from scripts.reference.commands import commands_page
from scripts.reference.definitions import definitions_page
from scripts.reference.names import names_page
from scripts.reference.python import client_page, core_page, plugin_page
from scripts.reference.rest import bodies_page, openapi, routes_page
from scripts.reference.settings import settings_page


def pages() -> dict[str, str]:
    """Return every generated page: its text by its path below docs/."""
    document = openapi()
    return {
        "reference/rest.md": routes_page(document),
        "reference/bodies.md": bodies_page(document),
        "reference/definitions.md": definitions_page(),
        "reference/names.md": names_page(),
        "reference/commands.md": commands_page(),
        "reference/python.md": client_page(),
        "reference/core.md": core_page(),
        "reference/plugin.md": plugin_page(),
        "reference/settings.md": settings_page(),
    }

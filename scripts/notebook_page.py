"""Convert a notebook to a page of the documentation: its text, its code, and the output when the page is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat

ABOUT = "This page is a notebook, run when the page was built: [{name}]({name}) is the file."
SECONDS = 120
QUIET = "--log-level=ERROR"
COLORS = re.compile(r"\x1b\[[0-9;]*m")
EMPTY_LINES = re.compile(r"\n\s*\n")


def page_of_notebook(path: Path) -> str:
    """Return the notebook as Markdown. Its first cell holds the title. An error in a cell fails the build."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat is half typed
    place = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources=place, extra_arguments=[QUIET]).execute()
    title, *cells = notebook.cells
    parts = [title.source, ABOUT.format(name=path.name)]
    for cell in cells:
        parts += [cell.source] if cell.cell_type == "markdown" else _code(cell)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _code(cell: Any) -> Iterator[str]:
    yield _fenced("python", cell.source)
    for output in cell.outputs:
        yield _shown(output)


def _shown(output: Any) -> str:
    data = output.get("data", {})
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            whole = EMPTY_LINES.sub("\n", data[kind])  # an empty line would end a block of HTML
            return f"<div>{whole}</div>"
    return _fenced("text", COLORS.sub("", data.get("text/plain") or output.get("text", "")))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"

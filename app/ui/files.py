"""What the pages of architectures and of verifications share about files: their addresses, and the page that waits."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request, Response

from app.exports.service import Pending
from app.http.fields import ExportedAs
from app.ui.page import render
from nnmass_core.export.deployment import USUAL, USUAL_OPSET, FileOptions, applying


def file_query(form: str, seed: int, options: FileOptions) -> str:
    """Return the query of a file's address, with the options that apply to it and are not the usual ones."""
    if form == "json":
        return ""
    usual = applying(form, USUAL)
    asked = {name: value for name, value in applying(form, options).items() if value != usual[name]}
    return "?" + urlencode({"seed": seed} | {name: str(value).lower() for name, value in asked.items()})


def stored_query(one: ExportedAs) -> str:
    """Return the query of a stored file's address."""
    options = FileOptions(one.batch, one.opset or USUAL_OPSET, fold_batchnorm=one.fold_batchnorm is not False)
    return file_query(one.format, one.seed, options)


def waiting_page(request: Request, what: str, place: tuple[str, str], pending: Pending) -> Response:
    """Return the page that waits for a file and reloads itself.

    place: the path of the page that has the file, and what that page shows.
    """
    page = render(request, "export.html", what=what, place=place, pending=pending)
    page.headers["Refresh"] = "1"
    return page

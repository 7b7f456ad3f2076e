"""Searches as in responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import orjson
from orjson import Fragment
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.jobs import waiting
from app.jobs.waiting import Waiting
from app.predictions import Predictions
from app.searches.schemas import Result, SearchAnswer
from app.storage.models import RankedArchitecture, Search
from nnmass_core.certificate import SearchResult, place_of
from nnmass_core.codec import JsonObject

SearchRow = Row[*tuple[Any, ...]]
"""A row of `repository.written` or `repository.page`."""


def answer(session: Session, row: Search, *, reused: bool = False) -> SearchAnswer:
    """Return the response for a search."""
    tags = [tag.tag for tag in row.tags]
    waits = waiting.of(session, row.job)
    fields = _fields(row, row.job, waits, request=row.request, result=row.result, tags=tags, reused=reused)
    return SearchAnswer.model_validate(fields)


def write(session: Session, row: SearchRow) -> bytes:
    """Write a search as JSON: a `SearchAnswer`."""
    return _json(_written(row, waiting.of(session, row)))


def write_list(session: Session, rows: Sequence[SearchRow], following: str | None) -> bytes:
    """Write a page of the history as JSON: a `SearchList`."""
    waits = waiting.among(session, rows)
    return _json({"items": [_written(row, waits.get(row.id)) for row in rows], "next_cursor": following})


def is_front(search: Search) -> bool:
    """Return whether a search asks for a Pareto front: by its stored request, which may be one of another release."""
    return "pareto" in search.request["objective"]


def item_of(search: Search, row: RankedArchitecture, predictions: Predictions) -> JsonObject:
    """Return a rank of a search's ranking, or a point of its front, as in responses."""
    return {
        "precision": search.request["budget"]["precision"],  # rankings of earlier releases do not have it
        **row.figures,
        **place_of(row.rank, of_front=is_front(search)),
        "architecture": row.architecture,
        "predicted_accuracy": predictions.of(row.architecture),
    }


def stored_result(found: SearchResult, elapsed_seconds: float) -> JsonObject:
    """Return a certificate in its stored form: the JSON of a `Result`, since responses contain the stored text."""
    least, joint = found.certificate.relaxation, found.certificate.joint_relaxation
    relaxed = {
        "relaxation": None if least is None else _doubles(least),
        "joint_relaxation": None
        if joint is None
        else joint.to_json() | {"limits": None if joint.limits is None else _doubles(joint.limits)},
    }
    first = {"first_rank": found.certificate.first_rank}
    return dict.fromkeys(Result.model_fields) | first | found.report(elapsed_seconds) | relaxed


def _doubles(limits: Mapping[str, float | None]) -> JsonObject:
    return {name: None if value is None else float(value) for name, value in limits.items()}


def _written(row: SearchRow, waits: Waiting | None) -> dict[str, object]:
    """Return a row to be written as JSON.

    The JSON in it is ours and is sent as stored: parsing, checking and writing it would double the time.
    """
    line = SimpleNamespace(**dict(zip(row._fields, row, strict=True)))  # a row's own attributes are slow
    result = None if line.result is None else Fragment(line.result)
    return _fields(line, line, waits, request=Fragment(line.request), result=result, tags=Fragment(line.tags))


def _json(content: dict[str, object]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def _fields(
    search: Any, job: Any, waits: Waiting | None, *, request: Any, result: Any, tags: Any, reused: bool = False
) -> dict[str, object]:
    """Return the fields of a `SearchAnswer`, from any object with the columns of both tables."""
    return {
        "id": search.id,
        "status": job.state,
        "outcome": search.outcome,
        "name": search.name,
        "tags": tags,
        "note": search.note,
        "family": search.family,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "heartbeat_at": job.heartbeat_at,
        "attempts": job.attempt,
        "reused": reused or job.source_id is not None,
        "reused_from": job.source_id,
        "request": request,
        "request_digest": search.request_digest,
        "result_digest": search.result_digest,
        "core_version": search.core_version,
        "result": result,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
        "progress": {"fraction": job.progress_fraction, "message": _message(job, waits)},
        "waiting": waits,
    }


def _message(job: Any, waits: Waiting | None) -> str:
    """Return a search's progress as text: what it waits for, or what its worker reported."""
    if waits is None:
        return str(job.progress_message)
    rest = "" if job.source_id is None else f"; it takes the result of the equal search {job.source_id}"
    return f"{waits.message}{rest}"

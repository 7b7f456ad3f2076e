"""Logs: one line per event on standard error, as text for people or as JSON for machines.

All code logs through the standard library's loggers. The context of a line (its request, owner, job) is bound around
the work, and appears on every line that any code writes during the work.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

from app.config import Settings

JOB = ("job_id", "kind", "attempt", "fence")
"""Fields that identify a line's job and the attempt at it."""

REQUEST = ("request_id", "owner")
FIELDS = (*REQUEST, *JOB, "method", "path", "route", "status", "seconds", "queue", "state")
"""The fields that a line may carry in addition to its text; fields that libraries attach are left out."""

OURS = ("nnmass", "uvicorn", "celery")
"""Loggers that use the configured level. All others log only warnings, even at DEBUG: no SQL, no bodies."""

TOO_TALKATIVE = ("celery.worker.strategy", "celery.app.trace")
"""They log each notification, with an id that nothing else uses; the jobs log their own progress."""

SECRETS = (
    (re.compile(r"(nnm_[0-9a-f]{12}_)[A-Za-z0-9_-]{8,}"), r"\1..."),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), r"\1...@"),
)
"""API keys and passwords in URLs: nothing should log one; if something does, it is removed."""

Event = MutableMapping[str, Any]

log = logging.getLogger("nnmass.process")


def configure(settings: Settings) -> None:
    """Configure the logging of this process according to its settings."""
    root = logging.getLogger()
    root.handlers[:] = [handler_of(settings.log_format)]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)
    for name in TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    if settings.embedded:  # it would warn that the folder of notifications has no host name
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    if settings.log_format == "json":  # a traceback that Python writes itself would be lines of text
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread


def handler_of(form: str, stream: TextIO | None = None) -> logging.Handler:
    """Return a handler that writes lines in a format, `text` or `json`, to a stream (None: standard error)."""
    handler: logging.StreamHandler[Any] = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.ExtraAdder(allow=FIELDS),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str) if form == "json" else _as_text,
                _without_secrets,
            ],
        )
    )
    return handler


def bind(**fields: Any) -> None:
    """Add these fields to every further line of this request."""
    structlog.contextvars.bind_contextvars(**fields)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Add these fields to the lines written within the block."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def begin(request_id: str) -> None:
    """Start the context of a request: drop what an earlier request has bound."""
    structlog.contextvars.clear_contextvars()
    bind(request_id=request_id)


def request_id() -> str | None:
    """Return the id of the current request."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found


def _as_text(logger: Any, method: str, event: Event) -> str:
    """Return a line for people: time, level, logger, message, and its fields."""
    moment, level, name = event.pop("timestamp"), event.pop("level").upper(), event.pop("logger")
    said, trace = event.pop("event"), event.pop("exception", None)
    fields = "".join(f" {key}={event[key]}" for key in FIELDS if event.get(key) is not None)
    return f"{moment} {level} {name}: {said}{fields}" + (f"\n{trace}" if trace else "")


def _without_secrets(logger: Any, method: str, line: Any) -> str:
    text = str(line)
    for secret, rest in SECRETS:
        text = secret.sub(rest, text)
    return text


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the process ends because of an error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        name = ended.thread.name if ended.thread else ""
        log.critical("the thread %s ends because of an error", name, exc_info=ended.exc_value)

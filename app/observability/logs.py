"""Logs: one line for each event on standard error, as text for people or as JSON for machines.

Everybody logs through the standard library's loggers. What a line is about (its request, owner, job) is bound around
the work and stands on every line that is written within, by whomever.
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
"""What tells of which job a line is, and of which attempt at it."""

REQUEST = ("request_id", "owner")
FIELDS = (*REQUEST, *JOB, "method", "path", "route", "status", "seconds", "queue", "state")
"""What a line may carry beside its text; what libraries attach to their lines stays out."""

OURS = ("nnmass", "uvicorn", "celery")
"""Loggers that say as much as was asked for; all others say their warnings alone, at DEBUG too: no SQL, no bodies."""

TOO_TALKATIVE = ("celery.worker.strategy", "celery.app.trace")
"""They tell of each bell, with an id of its own that leads nowhere: jobs tell of themselves."""

SECRETS = (
    (re.compile(r"(nnm_[0-9a-f]{12}_)[A-Za-z0-9_-]{8,}"), r"\1..."),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), r"\1...@"),
)
"""API keys and passwords in addresses: nothing should log one, and if something does it is cut out."""

Event = MutableMapping[str, Any]

log = logging.getLogger("nnmass.process")


def configure(settings: Settings) -> None:
    """Have this process log as its settings say, from now on."""
    root = logging.getLogger()
    root.handlers[:] = [handler_of(settings.log_format)]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)
    for name in TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    if settings.embedded:  # it would warn that the bells' folder has no host name
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    if settings.log_format == "json":  # a traceback that Python writes itself would be lines of text
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread


def handler_of(form: str, stream: TextIO | None = None) -> logging.Handler:
    """Return the handler that writes lines of a form, `text` or `json`, to a stream (None: standard error)."""
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
    """Have every further line of this request carry these fields."""
    structlog.contextvars.bind_contextvars(**fields)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Have the lines within carry these fields."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def begin(request_id: str) -> None:
    """Begin the lines of a request: what was bound before is another's."""
    structlog.contextvars.clear_contextvars()
    bind(request_id=request_id)


def request_id() -> str | None:
    """Return the id of the request that is being answered."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found


def _as_text(logger: Any, method: str, event: Event) -> str:
    """Return a line for people: moment, level, who, what, and what it is about."""
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

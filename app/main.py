"""The web application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi_offline import FastAPIOffline

from app import ui
from app.architectures import routes as architectures
from app.auth.callers import Callers
from app.auth.keys import Scope
from app.auth.rate_limits import RateLimits
from app.campaigns import routes as campaigns
from app.config import Settings
from app.devices import routes as devices
from app.evidence import routes as evidence
from app.exports import routes as exports
from app.health import routes as health
from app.http import openapi_pages, problem_json
from app.http.concurrency import Threads
from app.http.cursors import Cursors
from app.http.dependencies import allows
from app.http.event_streams import EventData, Streams
from app.http.fields import ProblemBody, problems
from app.http.middleware.access_log import AccessLogMiddleware
from app.http.middleware.body_guard import BodyGuard
from app.http.middleware.head import HeadMiddleware
from app.http.middleware.hosts_and_origins import HostAndOriginMiddleware
from app.http.middleware.parameters import QueryParameters
from app.http.openapi_document import operation_id, readable
from app.jobs import requirements
from app.jobs.broker import Dispatcher
from app.jobs.sweeper import Sweeper
from app.measurements import routes as measurements
from app.metrics import routes as metrics
from app.metrics.service import Metrics
from app.observability import tracing
from app.searches import routes as searches
from app.spaces import routes as spaces
from app.storage.db import Database
from app.verifications import routes as verifications
from nnmass_core import __version__

DESCRIPTION = """Which neural network fits my hardware? POST a budget to `/v1/searches` to get the architectures
with the most NN-Mass within it, with a proof that none is better. A search trains nothing."""

FEATURES = {
    Scope.SEARCH: (
        searches.router,
        spaces.router,
        devices.router,
        architectures.router,
        exports.router,
        evidence.router,
    ),
    Scope.TRAIN: (
        verifications.router,
        verifications.names,
        exports.of_trainings,
        measurements.router,
        campaigns.router,
    ),
}
"""The scope that a feature's routes need in addition to `read`; each of its routes requires it."""

EVERYWHERE = (401, 403, 421, 422, 429, 503)
"""What any route may answer: a problem with the caller, a NUL in the address, or an unavailable database."""


CHECKED = Depends(QueryParameters().check)
"""What every route and page requires: the query parameters that it takes, and no others."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application for these settings (None: the environment's)."""
    settings = settings or Settings()
    dispatcher = Dispatcher(settings)
    database = Database(
        settings.sqlalchemy_url,
        announce=dispatcher.notify,
        most_waiting=settings.most_waiting,
        refusal=partial(requirements.refusal, settings),
    )
    sweeper = Sweeper(database, settings, dispatcher.notify)
    stopping = threading.Event()  # set when the server is shutting down, so that no request waits any longer
    streams = Streams(database, stopping)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        sweeper.start()
        yield
        await streams.stop()
        sweeper.stop()
        dispatcher.stop()
        database.dispose()
        tracing.flush()

    # it provides the files of the documentation pages, so that they work on a machine without a network
    app = _described(
        FastAPIOffline,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[CHECKED],
        telemetry=tracing.of_requests(),
    )
    app.state.settings = settings
    app.state.stopping = stopping
    app.state.database = database
    app.state.threads = Threads(database)
    app.state.streams = streams
    app.state.callers = Callers(database, settings)
    app.state.rate_limits = RateLimits(settings)
    app.state.cursors = Cursors(settings.signing_key())
    app.state.metrics = Metrics(database, settings)
    app.openapi = _document  # type: ignore[method-assign]
    openapi_pages.install(app)
    problem_json.install(app, ui.error_page)
    app.add_middleware(HeadMiddleware)  # added first: it is the innermost
    app.add_middleware(BodyGuard, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds, page=ui.error_page)
    app.add_middleware(HostAndOriginMiddleware, settings=settings, page=ui.error_page)
    app.add_middleware(AccessLogMiddleware, note=app.state.metrics.note)  # added last: it is the outermost
    return app


@cache
def _router() -> APIRouter:
    """Return the router of all features and pages.

    FastAPI prepares the routes of a router at the first request after it was included, which takes 0.2 s for all of
    them: applications of the same process share the prepared ones.
    """
    everything = APIRouter(dependencies=[CHECKED], generate_unique_id_function=operation_id)
    # first: routes are matched one after another, and probes ask for these all the time
    everything.include_router(health.router, responses=problems(421, 422))
    everything.include_router(metrics.router, responses=problems(421, 422))
    for scope, routers in FEATURES.items():
        for router in routers:
            everything.include_router(router, dependencies=[Depends(allows(scope))], responses=problems(*EVERYWHERE))
    ui.install(everything)
    return everything


def _described(make: Callable[..., FastAPI], **more: Any) -> FastAPI:
    """Return an application with the routes, and with what the OpenAPI document says of all of them."""
    return make(title="nnmass", version=__version__, description=DESCRIPTION, routes=[*_router().routes], **more)


_document = readable(lambda: _described(FastAPI).openapi(), (ProblemBody, EventData))
"""Returns the OpenAPI document, which takes half a second once: it is the same for all settings."""

"""The route of metrics."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from app.auth.keys import Scope
from app.errors import Forbidden
from app.http.dependencies import BEARER, SettingsDep, caller_of
from app.http.fields import problems
from app.metrics.service import Metrics

router = APIRouter(tags=["service"])

log = logging.getLogger("nnmass.metrics")


async def _may_measure(
    request: Request,
    settings: SettingsDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
) -> None:
    """Allow callers with the metrics token or the scope `admin`. Raises Unauthenticated and Forbidden.

    Checking the token needs no database, so that monitoring still works when the database is unavailable.
    """
    token = None if settings.metrics_token_file is None else _read(settings.metrics_token_file)
    if token and credentials is not None and hmac.compare_digest(credentials.credentials.encode(), token.encode()):
        return
    caller = await caller_of(request, credentials)
    if not caller.may(Scope.ADMIN):
        raise Forbidden(f"the API key lacks the scope {Scope.ADMIN}: metrics cover all owners")


def _read(path: Path) -> str:
    """Return the token. It is read each time, since its file may be renewed; empty where the file cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        log.warning("cannot read the metrics token file: %s", type(error).__name__)
        return ""


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(_may_measure)],
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."},
        **problems(401, 403, 429, 503),
    },
)
def metrics(request: Request) -> Response:
    """Return what Prometheus collects: requests of this process; jobs, queues and workers of all owners.

    Needs no key while the service needs none; then the scope `admin`, or the token in `NNMASS_METRICS_TOKEN_FILE`.
    """
    measured = cast("Metrics", request.app.state.metrics)
    return Response(measured.exposed(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

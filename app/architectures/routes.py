"""Routes of architectures."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.architectures import service
from app.architectures.schemas import EvaluateAnswer, EvaluateBody
from app.fields import BODY_ERRORS, problems

router = APIRouter(prefix="/v1/architectures", tags=["architectures"])


@router.post("/evaluate", response_model=EvaluateAnswer, responses=problems(*BODY_ERRORS))
def evaluate_architectures(body: EvaluateBody) -> dict[str, Any]:
    """Return NN-Mass and every cost of the given definitions, in order; nothing is stored."""
    return {"results": service.evaluate(body.architectures, body.precision)}

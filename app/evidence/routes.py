"""Routes of the evidence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from app.evidence import service
from app.evidence.query import query_evidence
from app.evidence.schemas import EvidenceAnswer
from app.evidence.service import Filters
from app.http.dependencies import Owner, ThreadsDep
from app.http.fields import FamilyFilter, problems

router = APIRouter(prefix="/v1/evidence", tags=["evidence"])


@router.get(
    "",
    response_model=EvidenceAnswer,
    responses={
        200: {"content": {"text/csv": {}}, "description": "The evidence, or its points with `format=csv`."},
        **problems(422, 503),
    },
)
async def get_evidence(
    threads: ThreadsDep,
    owner: Owner,
    dataset: Annotated[
        str | None, Query(max_length=500, description="Name or key of the dataset.", examples=["mnist-5k"])
    ] = None,
    family: FamilyFilter = None,
    recipe: Annotated[
        str | None, Query(max_length=100, description="Name or digest of the recipe.", examples=["mlp-paper"])
    ] = None,
    adapted: Annotated[
        bool | None,
        Query(
            description="Only recipes that were adapted to few images, or only those that were not.", examples=[True]
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the contract's word
        Literal["json", "csv"], Query(description="`json`: the evidence; `csv`: its points.", examples=["json"])
    ] = "json",
) -> Any:
    """Return how well NN-Mass, params and MACs rank trained networks by test accuracy.

    Compares networks within one dataset and one recipe, adapted or not: by default, those with the most networks.
    """
    filters = Filters(dataset, family, recipe, adapted)
    if format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="evidence.csv"'}
        table = await threads.read(owner, service.table, filters)
        return Response(table, media_type="text/csv", headers=headers)
    _, reported = await query_evidence(threads, owner, filters)
    return reported

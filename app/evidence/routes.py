"""Routes of the evidence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.evidence import columns, service
from app.evidence.column_schemas import ColumnList, PointList, PointsAnswer, PointsBody
from app.evidence.query import query_evidence, upload
from app.evidence.schemas import EvidenceAnswer
from app.evidence.service import Filters
from app.http.dependencies import Owner, PagingDep, ReadSession, ThreadsDep, WidePagingDep, WriteSession
from app.http.fields import BODY_ERRORS, ArchId, FamilyFilter, PathName, problems
from nnmass_core.codec import JsonObject

router = APIRouter(prefix="/v1/evidence", tags=["evidence"])

PathColumn = Annotated[PathName, Field(description="Name of the column.", examples=["zico"])]


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
    accuracy: Annotated[
        str | None,
        Query(
            max_length=100,
            description="Name of your column to use as accuracy, in place of the test accuracy of trainings.",
            examples=["published_accuracy"],
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the contract's word
        Literal["json", "csv"], Query(description="`json`: the evidence; `csv`: its points.", examples=["json"])
    ] = "json",
) -> Any:
    """Return how well NN-Mass, params and MACs rank trained networks by test accuracy.

    Compares networks within one dataset and one recipe, adapted or not: by default, those with the most networks. Your
    own columns stand beside them.
    """
    filters = Filters(dataset, family, recipe, adapted, accuracy)
    if format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="evidence.csv"'}
        table = await threads.read(owner, service.table, filters)
        return Response(table, media_type="text/csv", headers=headers)
    _, reported = await query_evidence(threads, owner, filters)
    return reported


@router.post("/points", response_model=PointsAnswer, responses=problems(*BODY_ERRORS, 409))
async def upload_points(body: PointsBody, threads: ThreadsDep, owner: Owner) -> dict[str, object]:
    """Store figures beside networks, which the evidence compares with NN-Mass, params and MACs.

    A figure replaces an earlier one of the same network and column, so that a repeat changes nothing.
    """
    return {"items": await upload(threads, owner, body)}


@router.get("/points", response_model=PointList, responses=problems(422, 503))
def list_points(session: ReadSession, owner: Owner, paging: PagingDep) -> dict[str, object]:
    """List the networks beside which you uploaded figures, by `arch_id`."""
    items, following = columns.list_page(session, owner, paging)
    return {"items": items, "next_cursor": following}


@router.delete("/points/{arch_id}", status_code=204, responses=problems(404, *BODY_ERRORS))
def delete_point(arch_id: ArchId, session: WriteSession, owner: Owner) -> None:
    """Delete the figures that you uploaded beside a network."""
    columns.delete_point(session, owner, arch_id)


@router.get("/columns", response_model=ColumnList, responses=problems(422, 503))
def list_columns(session: ReadSession, owner: Owner, paging: WidePagingDep) -> JsonObject:
    """List your columns, each with the number of networks that have it."""
    items, following = paging.page_of({"list": "columns", "owner": owner}, columns.columns_of(session, owner))
    return {"items": items, "next_cursor": following}


@router.delete("/columns/{column_name}", status_code=204, responses=problems(404, *BODY_ERRORS))
def delete_column(column_name: PathColumn, session: WriteSession, owner: Owner) -> None:
    """Delete one of your columns, with all its figures."""
    columns.delete_column(session, owner, column_name)

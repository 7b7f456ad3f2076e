"""Pages that ask before something is deleted, and the forms that then delete it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.architectures import service as architectures
from app.campaigns import service as campaigns
from app.exports import service as exports
from app.http.dependencies import Owner, ReadSession, WriteSession
from app.http.fields import LARGEST_SEED, ArchId
from app.measurements import service as measurements
from app.searches import service as searches
from app.storage.ids import id_of
from app.storage.models import Export
from app.ui.page import PageRoute, go_to, render
from app.verifications import service as verifications
from nnmass.formatting import request_summary

SearchId = Annotated[UUID, id_of("search")]
CampaignId = Annotated[UUID, id_of("campaign")]
VerificationId = Annotated[UUID, id_of("verification")]
MeasurementId = Annotated[UUID, id_of("measurement")]
WiringSeed = Annotated[int, Query(ge=0, le=LARGEST_SEED)]

of_searches = APIRouter(include_in_schema=False, route_class=PageRoute)
of_trainings = APIRouter(include_in_schema=False, route_class=PageRoute)
of_architectures = APIRouter(include_in_schema=False, route_class=PageRoute)


def _ask(request: Request, what: str, effect: str, back: str) -> Response:
    """Return the page that asks; its form sends a POST to the same address."""
    return render(request, "confirm.html", what=what, effect=effect, back=back, query=request.url.query)


@of_searches.get("/searches/{search_id}/delete")
def ask_search(request: Request, session: ReadSession, owner: Owner, search_id: SearchId) -> Response:
    """Ask before a search is deleted."""
    row = searches.get(session, owner, search_id)
    what = f"the search “{row.name or request_summary(row.request)}”"
    return _ask(request, what, "Its ranking is deleted; trainings of its networks stay.", f"/searches/{search_id}")


@of_searches.post("/searches/{search_id}/delete")
def delete_search(request: Request, session: WriteSession, owner: Owner, search_id: SearchId) -> Response:
    """Delete a search."""
    searches.delete(session, owner, search_id)
    return go_to(request, "/searches")


@of_trainings.get("/verifications/{verification_id}/delete")
def ask_verification(request: Request, session: ReadSession, owner: Owner, verification_id: VerificationId) -> Response:
    """Ask before a verification is deleted."""
    row = verifications.get(session, owner, verification_id)
    what = f"the training of {row.family} on {row.dataset['name']}"
    effect = "Its epochs, log and files are deleted, and its accuracy is no longer evidence."
    return _ask(request, what, effect, f"/verifications/{verification_id}")


@of_trainings.post("/verifications/{verification_id}/delete")
def delete_verification(
    request: Request, session: WriteSession, owner: Owner, verification_id: VerificationId
) -> Response:
    """Delete a verification."""
    verifications.delete(session, owner, verification_id)
    return go_to(request, "/verifications")


@of_trainings.get("/campaigns/{campaign_id}/delete")
def ask_campaign(request: Request, session: ReadSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Ask before a campaign is deleted."""
    row = campaigns.get(session, owner, campaign_id)
    what = f"the campaign of {row.family} on {row.dataset['name']}"
    return _ask(request, what, "Its answer is deleted; its trainings stay, as evidence.", f"/campaigns/{campaign_id}")


@of_trainings.post("/campaigns/{campaign_id}/delete")
def delete_campaign(request: Request, session: WriteSession, owner: Owner, campaign_id: CampaignId) -> Response:
    """Delete a campaign."""
    campaigns.delete(session, owner, campaign_id)
    return go_to(request, "/campaigns")


@of_trainings.get("/measurements/{measurement_id}/delete")
def ask_measurement(request: Request, session: ReadSession, owner: Owner, measurement_id: MeasurementId) -> Response:
    """Ask before a measurement is deleted."""
    row = measurements.get(session, owner, measurement_id)
    return _ask(request, f"the measurement of {row.kind}", "Its figures are deleted.", f"/architectures/{row.arch_id}")


@of_trainings.post("/measurements/{measurement_id}/delete")
def delete_measurement(
    request: Request, session: WriteSession, owner: Owner, measurement_id: MeasurementId
) -> Response:
    """Delete a measurement."""
    arch_id = measurements.get(session, owner, measurement_id).arch_id
    measurements.delete(session, owner, measurement_id)
    return go_to(request, f"/architectures/{arch_id}")


@of_architectures.get("/architectures/{arch_id}/delete")
def ask_architecture(request: Request, session: ReadSession, owner: Owner, arch_id: ArchId) -> Response:
    """Ask before a registered architecture is deleted."""
    architectures.about(session, owner, arch_id)  # it must exist
    effect = "The service forgets it, and requests can no longer name its id."
    return _ask(request, "this architecture", effect, f"/architectures/{arch_id}")


@of_architectures.post("/architectures/{arch_id}/delete")
def delete_architecture(request: Request, session: WriteSession, owner: Owner, arch_id: ArchId) -> Response:
    """Delete a registered architecture."""
    architectures.delete(session, owner, arch_id)
    return go_to(request, "/searches")


@of_architectures.get("/architectures/{arch_id}/export/{form}/delete")
def ask_export(
    request: Request, session: ReadSession, owner: Owner, arch_id: ArchId, form: str, seed: WiringSeed = 0
) -> Response:
    """Ask before a file is deleted."""
    return _ask_export(request, exports.every(session, owner, arch_id, form, seed), f"/architectures/{arch_id}")


def _ask_export(request: Request, stored: Sequence[Export], back: str) -> Response:
    what = f"the {stored[0].format} file with seed {stored[0].seed}"
    if len(stored) > 1:
        what += ", with all its options"
    return _ask(request, what, "A worker creates it again when somebody asks for it.", back)


@of_architectures.post("/architectures/{arch_id}/export/{form}/delete")
def delete_export(
    request: Request, session: WriteSession, owner: Owner, arch_id: ArchId, form: str, seed: WiringSeed = 0
) -> Response:
    """Delete a file."""
    exports.delete(session, owner, arch_id, form, seed)
    return go_to(request, f"/architectures/{arch_id}")


@of_architectures.post("/architectures/{arch_id}/export/{form}/cancel")
def cancel_export(
    request: Request, session: WriteSession, owner: Owner, arch_id: ArchId, form: str, seed: WiringSeed = 0
) -> Response:
    """Cancel the creation of a file."""
    exports.cancel(session, owner, arch_id, form, seed)
    return go_to(request, f"/architectures/{arch_id}")


@of_trainings.get("/verifications/{verification_id}/export/{form}/delete")
def ask_trained_export(
    request: Request,
    session: ReadSession,
    owner: Owner,
    verification_id: VerificationId,
    form: str,
    seed: WiringSeed = 0,
) -> Response:
    """Ask before a file that was written from the weights of a training is deleted."""
    stored = exports.every(session, owner, verification_id, form, seed)
    return _ask_export(request, stored, f"/verifications/{verification_id}")


@of_trainings.post("/verifications/{verification_id}/export/{form}/delete")
def delete_trained_export(
    request: Request,
    session: WriteSession,
    owner: Owner,
    verification_id: VerificationId,
    form: str,
    seed: WiringSeed = 0,
) -> Response:
    """Delete a file that was written from the weights of a training."""
    exports.delete(session, owner, verification_id, form, seed)
    return go_to(request, f"/verifications/{verification_id}")


@of_trainings.post("/verifications/{verification_id}/export/{form}/cancel")
def cancel_trained_export(
    request: Request,
    session: WriteSession,
    owner: Owner,
    verification_id: VerificationId,
    form: str,
    seed: WiringSeed = 0,
) -> Response:
    """Cancel the creation of a file of a training."""
    exports.cancel(session, owner, verification_id, form, seed)
    return go_to(request, f"/verifications/{verification_id}")

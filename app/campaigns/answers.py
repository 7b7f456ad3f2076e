"""The responses for campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from app.campaigns import repository
from app.campaigns.repository import Training
from app.campaigns.schemas import CampaignAnswer, CampaignSummary
from app.jobs import requirements, waiting
from app.jobs.lifecycle import ENDED
from app.jobs.waiting import Waiting
from app.storage.models import Campaign
from app.verifications.service import QUEUE as TRAINING_QUEUE
from nnmass_core.named.recipes import recipe_name, resolve_recipe


def summaries(session: Session, rows: Sequence[Campaign]) -> list[CampaignSummary]:
    """Return campaigns without their trainings."""
    waits = waiting.among(session, (row.job for row in rows))
    return [CampaignSummary.model_validate(_summary(row, waits.get(row.id))) for row in rows]


def answer(session: Session, row: Campaign) -> CampaignAnswer:
    """Return a campaign with all its fields."""
    trainings = repository.trainings(session, row.id)
    return CampaignAnswer.model_validate(
        {
            **_summary(row, waiting.of(session, row.job)),
            "search": row.request,
            "recipe": row.recipe,
            "core_version": row.core_version,
            "choices": row.choices,
            "items": [_item(training) for training in trainings],
            "warning": None if row.job.state in ENDED else requirements.warning(session, TRAINING_QUEUE),
        }
    )


def _summary(row: Campaign, waits: Waiting | None) -> dict[str, object]:
    job, recipe = row.job, resolve_recipe(row.recipe)
    return {
        "id": row.id,
        "status": job.state,
        "paused": row.paused,
        "family": row.family,
        "strategy": row.strategy,
        "trainings": row.trainings,
        "confirm": row.confirm,
        "rounds": row.rounds,
        "dataset": row.dataset,
        "recipe_name": recipe_name(replace(recipe, validation=0.0).digest),
        "validation": recipe.validation,
        "recipe_digest": row.recipe_digest,
        "adapt": row.adapt,
        "seeds": row.seeds,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "heartbeat_at": job.heartbeat_at,
        "attempts": job.attempt,
        "progress": {
            "fraction": job.progress_fraction,
            "message": waits.message if waits else job.progress_message,
        },
        "waiting": waits,
        "result": row.result,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
    }


def _item(training: Training) -> dict[str, object]:
    row = training.row
    return {
        "round": row.round,
        "role": row.role,
        "arch_id": row.arch_id,
        "nn_mass": row.nn_mass,
        "params": row.params,
        "macs": row.macs,
        "seeds": row.seeds,
        "known": row.known,
        "verification": row.verification_id,
        "status": training.state,
        "error": training.error,
        "accuracy": training.accuracy,
        "validation_accuracy": training.validation,
        "predicted": row.predicted,
    }

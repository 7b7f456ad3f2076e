"""The responses for verifications."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from app import catalog
from app.jobs import requirements, waiting
from app.jobs.lifecycle import ENDED, State
from app.jobs.waiting import Waiting
from app.storage.models import Verification, VerificationEpoch, VerificationSeed
from app.verifications import repository
from app.verifications.schemas import EpochItem, VerificationAnswer, VerificationSummary
from nnmass_core.codec import JsonObject
from nnmass_core.named.adaptation import adaptation_of
from nnmass_core.named.datasets import datasets
from nnmass_core.named.recipes import recipe_name, resolve_recipe

EPOCH_FIELDS = tuple(EpochItem.model_fields)


def summaries(session: Session, rows: Sequence[Verification]) -> list[VerificationSummary]:
    """Return verifications without their epochs."""
    waits = waiting.among(session, (row.job for row in rows))
    return [VerificationSummary.model_validate(_summary(row, waits.get(row.id))) for row in rows]


def answer(session: Session, row: Verification) -> VerificationAnswer:
    """Return a verification with all its fields."""
    ended = repository.seeds(session, row.id)
    return VerificationAnswer.model_validate(
        {
            **_summary(row, waiting.of(session, row.job)),
            "architecture": row.definition,
            "recipe": row.recipe,
            "core_version": row.core_version,
            "result": _result(session, row),
            "runs": _runs(session, row, ended),
            "artifacts": _artifacts(session, row),
            "exports": catalog.described(session, catalog.exports_of_verification(session, row.id)),
            "result_digest": row.result_digest,
            "replay": _replay(session, row),
            "warning": requirements.warning(session, row.job.queue) if row.job.state == State.QUEUED else None,
        }
    )


def _summary(row: Verification, waits: Waiting | None) -> dict[str, object]:
    job = row.job
    message = waits.message if waits else job.progress_message
    live_stats = row.live_stats if row.live_stats is not None and job.state == State.RUNNING else {}
    return {
        "id": row.id,
        "status": job.state,
        "role": row.role,
        "search": row.search_id,
        "candidate_rank": row.candidate_rank,
        "arch_id": row.arch_id,
        "family": row.family,
        "nn_mass": row.nn_mass,
        "params": row.params,
        "macs": row.macs,
        "dataset": row.dataset,
        "recipe_name": recipe_name(row.recipe_digest),
        "recipe_digest": row.recipe_digest,
        "adapt": row.adapt,
        "adaptation": row.adaptation or _planned_adaptation(row),
        "seeds": row.seeds,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "heartbeat_at": job.heartbeat_at,
        "attempts": job.attempt,
        "progress": {"fraction": job.progress_fraction, "message": message, **live_stats},
        "waiting": waits,
        "result": row.result,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
        "excluded": row.excluded,
    }


def _planned_adaptation(row: Verification) -> JsonObject | None:
    """Return how a worker will adapt the recipe; None where it will not, or the number of images is not known yet."""
    known = datasets().get(row.dataset["name"])  # another release may have stored a dataset that this one lacks
    if row.job.state in ENDED or not row.adapt or known is None or known.train is None:
        return None
    recipe = resolve_recipe(row.recipe)
    if recipe.validation:  # how many images are left depends on the sizes of the classes
        return None
    planned = adaptation_of(recipe, known.train)
    return None if planned is None else planned.to_json()


def _result(session: Session, row: Verification) -> JsonObject | None:
    """Return the result with the summed counts of all seeds, which are a megabyte for a thousand classes."""
    if row.result is None:
        return None
    matrix = np.sum(repository.confusions(session, row.id), axis=0).tolist()
    return row.result | {"confusion": {"classes": row.result["data"]["classes"], "matrix": matrix}}


def _runs(session: Session, row: Verification, ended: Sequence[VerificationSeed]) -> list[JsonObject]:
    by_seed: dict[int, list[VerificationEpoch]] = defaultdict(list)
    for epoch in repository.epochs(session, row.id):
        by_seed[epoch.seed].append(epoch)
    accuracies = {seed.seed: seed.accuracy for seed in ended}
    return [
        {
            "seed": seed,
            "accuracy": accuracies.get(seed),
            "epochs": [{name: getattr(epoch, name) for name in EPOCH_FIELDS} for epoch in by_seed[seed]],
        }
        for seed in row.seeds
    ]


def _artifacts(session: Session, row: Verification) -> list[JsonObject]:
    return [
        {
            "name": file.name,
            "media_type": file.media_type,
            "size": file.size,
            "sha256": file.sha256,
            "location": f"/v1/verifications/{row.id}/artifacts/{file.name}",
        }
        for file in repository.artifacts(session, row.id)
    ]


def _replay(session: Session, row: Verification) -> dict[str, object] | None:
    if row.replay_of is None:
        return None
    first = session.get(Verification, row.replay_of)
    digests = (row.result_digest, first.result_digest if first is not None else None)
    return {"of": row.replay_of, "same_result": None if None in digests else digests[0] == digests[1]}

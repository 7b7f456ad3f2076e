"""The tables of the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, MetaData, String, Text, Uuid, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, validates

from app.storage.db import UtcDateTime
from app.storage.folding import folded

# untyped: SQLAlchemy cannot resolve a recursive type, as that of the core's JSON is

PENDING = "state IN ('queued', 'running')"
Json = JSON(none_as_null=True)
"""JSON stored as text, so that objects keep the order of their keys."""


class Base(DeclarativeBase):
    """Base of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Job(Base):
    """One piece of work: the row is the queue's entry, its lease and its state.

    source_id: the equal job whose result this one takes in place of working; it may have been deleted since, so there
    is no foreign key. Only app/jobs/lifecycle.py changes a job.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue_state_id", "queue", "state", "id"),
        Index("ix_jobs_owner_kind_id", "owner", "kind", "id"),
        Index("ix_jobs_owner_kind_state_id", "owner", "kind", "state", "id"),
        Index("ix_jobs_finished_at_id", "finished_at", "id"),
        Index("ix_jobs_pending_owner", "owner", postgresql_where=text(PENDING), sqlite_where=text(PENDING)),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    queue: Mapped[str] = mapped_column(String(32))
    owner: Mapped[str] = mapped_column(String(64))
    source_id: Mapped[UUID | None] = mapped_column(Uuid)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger)
    worker: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    notified_at: Mapped[datetime] = mapped_column("rung_at", UtcDateTime)
    progress_fraction: Mapped[float]
    progress_message: Mapped[str] = mapped_column(String(200))
    event_count: Mapped[int] = mapped_column("events", default=0, server_default="0")
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobEvent(Base):
    """An event of a job. They are numbered from 1 without gaps; `Job.event_count` is the number of events."""

    __tablename__ = "job_events"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(Json)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Search(Base):
    """A search: the request and, once its job has succeeded, the certificate and what it has proved, in a word.

    folded_name, folded_note: name and note as they are searched; they follow every change.
    """

    __tablename__ = "searches"
    __table_args__ = (Index("ix_searches_request_digest_id", "request_digest", "id"),)

    id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    note: Mapped[str] = mapped_column(Text)
    folded_name: Mapped[str] = mapped_column(Text, default="", server_default="")
    folded_note: Mapped[str] = mapped_column(Text, default="", server_default="")
    family: Mapped[str] = mapped_column(String(64))
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    request_version: Mapped[int] = mapped_column(default=1, server_default="1")
    request_digest: Mapped[str] = mapped_column(String(80))
    core_version: Mapped[str] = mapped_column(String(32))
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    result_digest: Mapped[str | None] = mapped_column(String(80))
    outcome: Mapped[str | None] = mapped_column(String(16))

    job: Mapped[Job] = relationship(lazy="raise")
    tags: Mapped[list[SearchTag]] = relationship(
        lazy="raise", cascade="all, delete-orphan", passive_deletes=True, order_by="SearchTag.position"
    )

    @validates("name", "note")
    def _fold(self, field: str, text: str) -> str:
        setattr(self, f"folded_{field}", folded(text))
        return text


class SearchTag(Base):
    """One tag of a search."""

    __tablename__ = "search_tags"
    __table_args__ = (Index("ix_search_tags_tag_search_id", "tag", "search_id"),)

    search_id: Mapped[UUID] = mapped_column(ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    tag: Mapped[str] = mapped_column(String(64))


class RankedArchitecture(Base):
    """One rank of a search's ranking."""

    __tablename__ = "ranked_architectures"
    __table_args__ = (Index("ix_ranked_architectures_arch_id_search_id", "arch_id", "search_id"),)

    search_id: Mapped[UUID] = mapped_column(ForeignKey("searches.id", ondelete="CASCADE"), primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True)
    arch_id: Mapped[str] = mapped_column(String(64))
    architecture: Mapped[dict[str, Any]] = mapped_column(Json)
    figures: Mapped[dict[str, Any]] = mapped_column(Json)


class RegisteredArchitecture(Base):
    """An architecture that its owner registered by its definition."""

    __tablename__ = "architectures"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    arch_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DeviceProfile(Base):
    """A device profile that its owner posted: memory and measured latencies."""

    __tablename__ = "device_profiles"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EvidencePoint(Base):
    """Figures that an owner uploaded beside a network, by the names of their columns, and the network's own."""

    __tablename__ = "evidence_points"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    arch_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    definition: Mapped[dict[str, Any]] = mapped_column(Json, deferred=True)
    family: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(64))
    widths: Mapped[list[int]] = mapped_column(Json)
    nn_mass: Mapped[float]
    params: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int] = mapped_column(BigInteger)
    columns: Mapped[dict[str, float]] = mapped_column(Json)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Export(Base):
    """A file that a worker creates from an architecture; `content` is set once its job has succeeded.

    `verification_id` names the training whose weights of `seed` the file has; null for one of an untrained network.
    The options are null where they do not apply to the format, and `batch` also for a batch of any size. A file whose
    `files_version` is not the current one is not given out.
    """

    __tablename__ = "exports"
    __table_args__ = (
        Index("ix_exports_arch_id_format_seed_id", "arch_id", "format", "seed", "id"),
        Index("ix_exports_verification_id", "verification_id"),
    )

    id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    verification_id: Mapped[UUID | None] = mapped_column(ForeignKey("verifications.id", ondelete="CASCADE"))
    arch_id: Mapped[str] = mapped_column(String(64))
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    format: Mapped[str] = mapped_column(String(16))
    seed: Mapped[int] = mapped_column(BigInteger)
    batch: Mapped[int | None]
    opset: Mapped[int | None]
    fold_batchnorm: Mapped[bool | None]
    files_version: Mapped[int] = mapped_column(server_default="1")
    core_version: Mapped[str] = mapped_column(String(32))
    content: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)

    job: Mapped[Job] = relationship(lazy="raise")


class Measurement(Base):
    """A measurement of a built, untrained network: the request and, once its job has succeeded, the figures."""

    __tablename__ = "measurements"
    __table_args__ = (Index("ix_measurements_arch_id_id", "arch_id", "id"),)

    id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    arch_id: Mapped[str] = mapped_column(String(64))
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    core_version: Mapped[str] = mapped_column(String(32))
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)

    job: Mapped[Job] = relationship(lazy="raise")


class Verification(Base):
    """A network to train: the whole order and, once its job has succeeded, the result.

    `task` holds inputs and classes, `widths` the widths of the network's parts: networks are compared where both are
    equal. `adapt` allows the worker to adapt the recipe to few images; `adaptation` is how it did, and null where the
    recipe is trained as requested. `log` is the end of the trainer's output; `live_stats` holds its speed and remaining
    time. `excluded`: its owner took it out of the evidence.
    """

    __tablename__ = "verifications"
    __table_args__ = (
        Index("ix_verifications_arch_id_id", "arch_id", "id"),
        Index("ix_verifications_search_id_id", "search_id", "id"),
        Index("ix_verifications_dataset_key_recipe_digest_id", "dataset_key", "recipe_digest", "id"),
        Index("ix_verifications_family_task_id", "family", "task", "id"),
        Index("ix_verifications_replay_of", "replay_of"),
    )

    id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(32))
    search_id: Mapped[UUID | None] = mapped_column(ForeignKey("searches.id", ondelete="SET NULL"))
    candidate_rank: Mapped[int | None]
    replay_of: Mapped[UUID | None] = mapped_column(ForeignKey("verifications.id", ondelete="SET NULL"))
    arch_id: Mapped[str] = mapped_column(String(64))
    family: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(64))
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    widths: Mapped[list[int]] = mapped_column(Json)
    nn_mass: Mapped[float]
    params: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int] = mapped_column(BigInteger)
    dataset: Mapped[dict[str, Any]] = mapped_column(Json)
    dataset_key: Mapped[str] = mapped_column(String(500))
    recipe: Mapped[dict[str, Any]] = mapped_column(Json)
    recipe_digest: Mapped[str] = mapped_column(String(80))
    adapt: Mapped[bool] = mapped_column(server_default=false())
    adaptation: Mapped[dict[str, Any] | None] = mapped_column(Json)
    seeds: Mapped[list[int]] = mapped_column(Json)
    kept: Mapped[list[str]] = mapped_column(Json)
    core_version: Mapped[str] = mapped_column(String(32))
    live_stats: Mapped[dict[str, float] | None] = mapped_column("live", Json)
    log: Mapped[str] = mapped_column(Text, deferred=True)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    result_digest: Mapped[str | None] = mapped_column(String(80))
    excluded: Mapped[bool] = mapped_column(default=False, server_default=false())

    job: Mapped[Job] = relationship(lazy="raise")


class VerificationEpoch(Base):
    """The figures of one epoch of one seed. An attempt that repeats the epoch writes the same figures again.

    Where a part of the training images is held out for validation, the figures of the test images are null before the
    last epoch; elsewhere those of the validation images always are.
    """

    __tablename__ = "verification_epochs"

    verification_id: Mapped[UUID] = mapped_column(ForeignKey("verifications.id", ondelete="CASCADE"), primary_key=True)
    seed: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    train_loss: Mapped[float]
    train_accuracy: Mapped[float]
    test_loss: Mapped[float | None]
    test_accuracy: Mapped[float | None]
    validation_loss: Mapped[float | None]
    validation_accuracy: Mapped[float | None]
    learning_rate: Mapped[float]
    images_per_second: Mapped[float]
    seconds: Mapped[float]


class VerificationSeed(Base):
    """The result of one seed: accuracy and loss after the last epoch, and counts of true and predicted classes.

    `accuracy`, `test_loss` and the counts are of the test images. The figures of the validation images are null where
    none are held out.
    """

    __tablename__ = "verification_seeds"

    verification_id: Mapped[UUID] = mapped_column(ForeignKey("verifications.id", ondelete="CASCADE"), primary_key=True)
    seed: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    accuracy: Mapped[float]
    test_loss: Mapped[float]
    validation_loss: Mapped[float | None]
    validation_accuracy: Mapped[float | None]
    confusion: Mapped[list[list[int]]] = mapped_column(Json, deferred=True)
    data_digest: Mapped[str] = mapped_column(String(80))


class Checkpoint(Base):
    """A file in a worker's training folder from which a training can resume."""

    __tablename__ = "checkpoints"

    verification_id: Mapped[UUID] = mapped_column(ForeignKey("verifications.id", ondelete="CASCADE"), primary_key=True)
    file: Mapped[str] = mapped_column(String(200), primary_key=True)
    fence: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int]
    step: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Artifact(Base):
    """A file that a training produced for a seed: weights, source, definition, ONNX or metadata."""

    __tablename__ = "artifacts"

    verification_id: Mapped[UUID] = mapped_column(ForeignKey("verifications.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(100))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class Campaign(Base):
    """A campaign: the search whose networks are trained, how many of them and how, and once it has ended the answer.

    `kept` lists the kinds of files to store, null for all. `paused`: no round begins. `choices`: of each round how its
    networks were chosen.
    """

    __tablename__ = "campaigns"

    id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    family: Mapped[str] = mapped_column(String(64))
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    request_version: Mapped[int]
    dataset: Mapped[dict[str, Any]] = mapped_column(Json)
    dataset_key: Mapped[str] = mapped_column(String(500))
    recipe: Mapped[dict[str, Any]] = mapped_column(Json)
    recipe_digest: Mapped[str] = mapped_column(String(80))
    adapt: Mapped[bool]
    kept: Mapped[list[str] | None] = mapped_column(Json)
    seeds: Mapped[list[int]] = mapped_column(Json)
    strategy: Mapped[str] = mapped_column(String(32))
    trainings: Mapped[int]
    confirm: Mapped[int]
    rounds: Mapped[int]
    paused: Mapped[bool] = mapped_column(default=False)
    core_version: Mapped[str] = mapped_column(String(32))
    choices: Mapped[list[Any]] = mapped_column(Json, default=list, server_default="[]")
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)

    job: Mapped[Job] = relationship(lazy="raise")


class CampaignTraining(Base):
    """A training of a campaign: a network at seeds, the verification that trains it, and what was predicted before.

    They are numbered from 1 in the order in which they were chosen. `known`: the verification had succeeded before and
    cost nothing. `verification_id` is null once that verification was deleted. `first_seed` is the first of the seeds:
    no network is trained twice at the same.
    """

    __tablename__ = "campaign_trainings"
    __table_args__ = (
        Index("uq_campaign_trainings_network", "campaign_id", "arch_id", "first_seed", unique=True),
        Index("ix_campaign_trainings_verification_id", "verification_id"),
    )

    campaign_id: Mapped[UUID] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    round: Mapped[int]
    role: Mapped[str] = mapped_column(String(32))
    arch_id: Mapped[str] = mapped_column(String(64))
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    nn_mass: Mapped[float]
    params: Mapped[int] = mapped_column(BigInteger)
    macs: Mapped[int] = mapped_column(BigInteger)
    seeds: Mapped[list[int]] = mapped_column(Json)
    first_seed: Mapped[int] = mapped_column(BigInteger)
    known: Mapped[bool]
    predicted: Mapped[dict[str, Any] | None] = mapped_column(Json)
    verification_id: Mapped[UUID | None] = mapped_column(ForeignKey("verifications.id", ondelete="SET NULL"))


class IdempotencyKey(Base):
    """The first response to a request with an Idempotency-Key."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    location: Mapped[str] = mapped_column(String(200))
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ApiKey(Base):
    """An API key: its secret's SHA-256, its owner and its scopes. Revoked keys stay, as a record."""

    __tablename__ = "api_keys"

    prefix: Mapped[str] = mapped_column(String(12), primary_key=True)
    secret_sha256: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(64), index=True)
    scopes: Mapped[list[str]] = mapped_column(Json)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class WorkerBeat(Base):
    """The last heartbeat of one worker process. `torch`: whether it has torch; null for workers of earlier releases."""

    __tablename__ = "worker_beats"

    worker: Mapped[str] = mapped_column(String(128), primary_key=True)
    queue: Mapped[str] = mapped_column(String(32))
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    torch: Mapped[bool | None]

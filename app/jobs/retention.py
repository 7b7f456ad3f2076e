"""Delete old data: jobs that ended long ago, with all their rows and files, and nothing else.

All other rows stay as they are, to the last column. A search therefore stays for as long as a training refers to it,
and a training for as long as another is a replay of it or a campaign refers to it: deleting them would change those.
Files that were written from the weights of a training go with it. Queued and running jobs are never deleted, however
old, and a training stays while a worker is to write a file of it.

Deletion runs in batches, one transaction each. A batch locks its rows first and checks them again, so that whatever a
user retries, tags or trains meanwhile stays.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.config import Settings
from app.jobs.lifecycle import ENDED
from app.storage.db import Database, UtcDateTime, now
from app.storage.models import (
    Artifact,
    Base,
    Campaign,
    CampaignTraining,
    Checkpoint,
    Export,
    Job,
    JobEvent,
    Measurement,
    RankedArchitecture,
    Search,
    SearchTag,
    Verification,
    VerificationEpoch,
    VerificationSeed,
)

AT_ONCE = 500
"""The most jobs of a batch, beside files that go with trainings: some thousand rows, deleted in part of a second."""

SEARCHES, VERIFICATIONS, MEASUREMENTS, EXPORTS = "searches", "verifications", "measurements", "exports"
CAMPAIGNS = "campaigns"
KINDS = {
    CAMPAIGNS: "campaign",
    VERIFICATIONS: "verification",
    MEASUREMENTS: "measurement",
    EXPORTS: "export",
    SEARCHES: "search",
}
"""What can be deleted, and the kind of its jobs. What refers to others is first: they are no longer needed then."""

AGE = re.compile(r"(\d{1,6})([hdw])")
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

Belonging = tuple[type[Base], InstrumentedAttribute[UUID]]
ALWAYS: tuple[Belonging, ...] = ((JobEvent, JobEvent.job_id), (Job, Job.id))
BELONGING: dict[str, tuple[Belonging, ...]] = {
    SEARCHES: (
        (Search, Search.id),
        (SearchTag, SearchTag.search_id),
        (RankedArchitecture, RankedArchitecture.search_id),
        *ALWAYS,
    ),
    VERIFICATIONS: (
        (Verification, Verification.id),
        (VerificationEpoch, VerificationEpoch.verification_id),
        (VerificationSeed, VerificationSeed.verification_id),
        (Checkpoint, Checkpoint.verification_id),
        (Artifact, Artifact.verification_id),
        *ALWAYS,
    ),
    CAMPAIGNS: ((Campaign, Campaign.id), (CampaignTraining, CampaignTraining.campaign_id), *ALWAYS),
    MEASUREMENTS: ((Measurement, Measurement.id), *ALWAYS),
    EXPORTS: ((Export, Export.id), *ALWAYS),
}
"""The tables with a kind's rows, and the column with the job's id. Deleting the job deletes the rows in all of them."""


@dataclass(frozen=True)
class RetentionPolicy:
    """What to delete: jobs of these kinds that ended longer ago than `older_than`.

    keep_tagged: searches with a tag stay.
    """

    older_than: timedelta
    kinds: tuple[str, ...] = (SEARCHES,)
    keep_tagged: bool = False


@dataclass
class PruneReport:
    """What was deleted: the number of rows by table, the bytes of their files, and files on this machine's disk."""

    rows: Counter[str] = field(default_factory=Counter)
    stored_bytes: int = 0
    files: int = 0
    file_bytes: int = 0

    def add(self, more: PruneReport) -> None:
        """Add the counts of another report."""
        self.rows += more.rows
        self.stored_bytes += more.stored_bytes
        self.files += more.files
        self.file_bytes += more.file_bytes

    @property
    def jobs(self) -> int:
        """The number of jobs."""
        return self.rows[Job.__tablename__]


def age_of(text: str) -> timedelta:
    """Parse an age written as `90d`, `12h` or `6w`. Raises ValueError."""
    found = AGE.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError("must be a number of hours, days or weeks, such as 12h, 90d or 6w")
    return int(found[1]) * UNITS[found[2]]


def of_settings(settings: Settings) -> RetentionPolicy | None:
    """Return what the service deletes automatically; None where it keeps everything."""
    if settings.retention_days is None:
        return None
    return RetentionPolicy(timedelta(days=settings.retention_days), keep_tagged=settings.retention_keep_tagged)


def cutoff(database: Database, policy: RetentionPolicy) -> datetime:
    """Return the time before which jobs must have ended, by the database's clock."""
    with database.read() as session:
        return now(session) - policy.older_than


def prune(
    database: Database, training_dir: Path, policy: RetentionPolicy, before: datetime, *, dry_run: bool = False
) -> Iterator[PruneReport]:
    """Delete what the policy covers. Yield what each batch deleted, or in a dry run would delete."""
    going: set[UUID] = set()
    campaigns: set[UUID] = set()
    for kind in KINDS:
        if kind not in policy.kinds:
            continue
        criteria = _Criteria(kind, before, keep_tagged=policy.keep_tagged)
        if kind == VERIFICATIONS:
            going = _unneeded(database, criteria, campaigns)
        for batch in _batches(database, criteria, going):
            if kind == CAMPAIGNS:
                campaigns.update(batch)
            yield (_count_only if dry_run else _delete)(database, training_dir, criteria, batch)


@dataclass(frozen=True)
class _Criteria:
    """The criteria of the policy for one kind of job."""

    kind: str
    before: datetime
    keep_tagged: bool

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions that a job must meet to be deleted, apart from references to it."""
        ended = [Job.kind == KINDS[self.kind], Job.state.in_(ENDED), Job.finished_at < self.before]
        if self.kind == SEARCHES and self.keep_tagged:
            ended.append(~exists().where(SearchTag.search_id == Job.id))
        if self.kind == VERIFICATIONS:
            making = aliased(Job)
            of_it = (Export.verification_id == Job.id, Export.id == making.id)
            ended.append(~exists().where(*of_it, making.state.not_in(ENDED)))
        return ended

    def unnamed(self, going: Sequence[UUID]) -> ColumnElement[bool]:
        """The condition that nothing refers to the job except rows that are deleted with it."""
        if self.kind == SEARCHES:
            return ~exists().where(Verification.search_id == Job.id)
        if self.kind == VERIFICATIONS:
            replay = aliased(Verification)
            repeated = exists().where(replay.replay_of == Job.id, replay.id.not_in(going))
            return ~repeated & ~exists().where(CampaignTraining.verification_id == Job.id)
        return literal(True)


def _batches(database: Database, criteria: _Criteria, going: set[UUID]) -> Iterator[list[UUID]]:
    """Yield the ids of jobs that may be deleted. going: trainings to be deleted or already deleted."""
    if criteria.kind == VERIFICATIONS:
        newest_first = sorted(going, reverse=True)  # a replay before the training that it repeats
        yield from (newest_first[at : at + AT_ONCE] for at in range(0, len(newest_first), AT_ONCE))
        return
    for ids in _pages(database, criteria):
        with database.read() as session:
            held = _held(session, criteria.kind, ids, going)
        if free := [job_id for job_id in ids if job_id not in held]:
            yield free


def _held(session: Session, kind: str, ids: list[UUID], going: set[UUID]) -> set[UUID]:
    """Return the jobs that stay, because of a training that stays; and those that a training takes with it."""
    if kind == SEARCHES:
        naming = select(Verification.search_id, Verification.id).where(Verification.search_id.in_(ids))
        return {search for search, training in session.execute(naming) if search and training not in going}
    if kind == EXPORTS:
        written = select(Export.id, Export.verification_id).where(Export.id.in_(ids))
        return {export for export, training in session.execute(written) if training in going}
    return set()


def _pages(database: Database, criteria: _Criteria) -> Iterator[list[UUID]]:
    """Yield the ids of jobs that are old enough, ordered by when they ended."""
    query = select(Job.id, Job.finished_at).where(*criteria.conditions).order_by(Job.finished_at, Job.id).limit(AT_ONCE)
    page = query
    while True:
        with database.read() as session:
            rows = session.execute(page).all()
        if not rows:
            return
        yield [row.id for row in rows]
        last = tuple_(literal(rows[-1].finished_at, UtcDateTime()), literal(rows[-1].id, Job.id.type))
        page = query.where(tuple_(Job.finished_at, Job.id) > last)


def _unneeded(database: Database, criteria: _Criteria, campaigns: set[UUID]) -> set[UUID]:
    """Return the trainings that are old enough and that no remaining replay or campaign refers to.

    campaigns: those that are deleted, or in a dry run would be.
    """
    going = {job_id for ids in _pages(database, criteria) for job_id in ids}
    with database.read() as session:
        replays = select(Verification.id, Verification.replay_of).where(Verification.replay_of.is_not(None))
        repeated = dict(session.execute(replays).all())
        named = select(CampaignTraining.campaign_id, CampaignTraining.verification_id)
        kept = {training for campaign, training in session.execute(named) if campaign not in campaigns}
    going -= kept
    staying = [replay for replay in repeated if replay not in going]
    while staying:
        first = repeated.get(staying.pop())
        if first in going:
            going.discard(first)
            staying.append(first)
    return going


def _delete(database: Database, training_dir: Path, criteria: _Criteria, ids: Sequence[UUID]) -> PruneReport:
    """Delete the jobs of a batch that may still be deleted."""
    own, key = BELONGING[criteria.kind][0]
    locked = select(Job.id).join(own, key == Job.id).where(Job.id.in_(ids), *criteria.conditions)
    with database.write() as session:
        found = session.scalars(locked.with_for_update(of=[Job, own], skip_locked=True)).all()
        # checked under the lock: a new reference waits for this transaction, and then finds the job gone
        sure = session.scalars(
            select(Job.id).where(Job.id.in_(found), *criteria.conditions, criteria.unnamed(found))
        ).all()
        removed = _count(session, training_dir, criteria.kind, sure)
        gone = [*_exports_of(session, criteria.kind, sure), *sure]
        session.execute(delete(Job).where(Job.id.in_(gone)), execution_options={"synchronize_session": False})
    for job_id in sure if criteria.kind == VERIFICATIONS else ():
        shutil.rmtree(training_dir / str(job_id), ignore_errors=True)
    return removed


def _count_only(database: Database, training_dir: Path, criteria: _Criteria, ids: Sequence[UUID]) -> PruneReport:
    """Return what deleting a batch would delete."""
    with database.read() as session:
        return _count(session, training_dir, criteria.kind, ids)


def _exports_of(session: Session, kind: str, ids: Sequence[UUID]) -> Sequence[UUID]:
    """Return the exports that go with jobs of a kind: files that were written from the weights of these trainings."""
    if kind != VERIFICATIONS:
        return []
    return session.scalars(select(Export.id).where(Export.verification_id.in_(ids))).all()


def _count(session: Session, training_dir: Path, kind: str, ids: Sequence[UUID]) -> PruneReport:
    """Count the rows and files of jobs of a kind, and of what goes with them."""
    removed = PruneReport()
    for table, key in BELONGING[kind]:
        count = session.execute(select(func.count()).select_from(table).where(key.in_(ids))).scalar_one()
        removed.rows[table.__tablename__] = count
    if kind == VERIFICATIONS:
        removed.stored_bytes = _sum(session, Artifact.size, Artifact.verification_id, ids)
        files = [file for job_id in ids for file in _files(training_dir / str(job_id))]
        removed.files, removed.file_bytes = len(files), sum(file.stat().st_size for file in files)
        removed.add(_count(session, training_dir, EXPORTS, _exports_of(session, kind, ids)))
    if kind == EXPORTS:
        removed.stored_bytes = _sum(session, func.length(Export.content, type_=Export.seed.type), Export.id, ids)
    return removed


def _sum(session: Session, size: Any, key: InstrumentedAttribute[UUID], ids: Sequence[UUID]) -> int:
    return int(session.execute(select(func.coalesce(func.sum(size), 0)).where(key.in_(ids))).scalar_one())


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []

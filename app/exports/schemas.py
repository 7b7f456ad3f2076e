"""Responses about exports."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting


class PendingExport(BaseModel):
    """A file that does not exist yet."""

    status: State
    message: str
    waiting: Waiting | None = Field(description="What a queued export waits for; null while a worker creates the file.")

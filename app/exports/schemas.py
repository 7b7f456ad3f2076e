"""Responses about exports."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.jobs.lifecycle import State
from app.jobs.waiting import Waiting


class ExportState(BaseModel):
    """The state of a file that a worker creates."""

    status: State = Field(description="Status of the job that creates it.")
    message: str = Field(description="What it waits for, for people.", examples=["a worker is creating the file"])
    waiting: Waiting | None = Field(description="What a queued export waits for; null in every other state.")

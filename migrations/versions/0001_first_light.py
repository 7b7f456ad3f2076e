"""First light: jobs, searches with tags and rankings, idempotency keys, worker beats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(length=200), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])

    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("queue", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(length=128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=True),
        sa.Column("rung_at", UtcDateTime(), nullable=False),
        sa.Column("progress_fraction", sa.Double(), nullable=False),
        sa.Column("progress_message", sa.String(length=200), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_owner_kind_id", "jobs", ["owner", "kind", "id"])
    op.create_index("ix_jobs_owner_kind_state_id", "jobs", ["owner", "kind", "state", "id"])
    op.create_index("ix_jobs_queue_state_id", "jobs", ["queue", "state", "id"])

    op.create_table(
        "worker_beats",
        sa.Column("worker", sa.String(length=128), nullable=False),
        sa.Column("queue", sa.String(length=32), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_worker_beats"),
    )
    op.create_table(
        "searches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("request_digest", sa.String(length=80), nullable=False),
        sa.Column("core_version", sa.String(length=32), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result_digest", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["jobs.id"], name="fk_searches_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_searches"),
    )
    op.create_index("ix_searches_request_digest_id", "searches", ["request_digest", "id"])

    op.create_table(
        "ranked_architectures",
        sa.Column("search_id", sa.Uuid(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("architecture", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("figures", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name="fk_ranked_architectures_search_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("search_id", "rank", name="pk_ranked_architectures"),
    )
    op.create_index("ix_ranked_architectures_arch_id_search_id", "ranked_architectures", ["arch_id", "search_id"])

    op.create_table(
        "search_tags",
        sa.Column("search_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name="fk_search_tags_search_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("search_id", "position", name="pk_search_tags"),
    )
    op.create_index("ix_search_tags_tag_search_id", "search_tags", ["tag", "search_id"])


def downgrade() -> None:
    """Take the change back."""
    op.drop_table("search_tags")
    op.drop_table("ranked_architectures")
    op.drop_table("searches")
    op.drop_table("worker_beats")
    op.drop_table("jobs")
    op.drop_table("idempotency_keys")

"""API keys: owners, scopes, expiry and revocation; and what an owner has waiting, by index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String(length=12), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("prefix", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_owner", "api_keys", ["owner"])
    pending = sa.text("state IN ('queued', 'running')")
    op.create_index("ix_jobs_pending_owner", "jobs", ["owner"], postgresql_where=pending, sqlite_where=pending)


def downgrade() -> None:
    """Take the change back."""
    op.drop_index("ix_jobs_pending_owner", "jobs")
    op.drop_table("api_keys")

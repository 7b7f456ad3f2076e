"""Verifications: trainings, their epochs, checkpoints and files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.db import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "verifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("search_id", sa.Uuid(), nullable=True),
        sa.Column("candidate_rank", sa.Integer(), nullable=True),
        sa.Column("replay_of", sa.Uuid(), nullable=True),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("definition", JSON, nullable=False),
        sa.Column("widths", JSON, nullable=False),
        sa.Column("nn_mass", sa.Double(), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("dataset", JSON, nullable=False),
        sa.Column("dataset_key", sa.String(length=500), nullable=False),
        sa.Column("recipe", JSON, nullable=False),
        sa.Column("recipe_digest", sa.String(length=80), nullable=False),
        sa.Column("seeds", JSON, nullable=False),
        sa.Column("kept", JSON, nullable=False),
        sa.Column("core_version", sa.String(length=32), nullable=False),
        sa.Column("live", JSON, nullable=True),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("result", JSON, nullable=True),
        sa.Column("result_digest", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["jobs.id"], name="fk_verifications_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name="fk_verifications_search_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["replay_of"], ["verifications.id"], name="fk_verifications_replay_of", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_verifications"),
    )
    for columns in (
        ("arch_id", "id"),
        ("search_id", "id"),
        ("dataset_key", "recipe_digest", "id"),
        ("family", "task", "id"),
    ):
        op.create_index(f"ix_verifications_{'_'.join(columns)}", "verifications", list(columns))
    op.create_table(
        "verification_epochs",
        _of_verification(),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=False),
        sa.Column("train_accuracy", sa.Double(), nullable=False),
        sa.Column("test_loss", sa.Double(), nullable=False),
        sa.Column("test_accuracy", sa.Double(), nullable=False),
        sa.Column("learning_rate", sa.Double(), nullable=False),
        sa.Column("images_per_second", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        _owned_by_verification("verification_epochs"),
        sa.PrimaryKeyConstraint("verification_id", "seed", "epoch", name="pk_verification_epochs"),
    )
    op.create_table(
        "verification_seeds",
        _of_verification(),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("test_loss", sa.Double(), nullable=False),
        sa.Column("confusion", JSON, nullable=False),
        sa.Column("data_digest", sa.String(length=80), nullable=False),
        _owned_by_verification("verification_seeds"),
        sa.PrimaryKeyConstraint("verification_id", "seed", name="pk_verification_seeds"),
    )
    op.create_table(
        "checkpoints",
        _of_verification(),
        sa.Column("file", sa.String(length=200), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        _owned_by_verification("checkpoints"),
        sa.PrimaryKeyConstraint("verification_id", "file", name="pk_checkpoints"),
    )
    op.create_table(
        "artifacts",
        _of_verification(),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        _owned_by_verification("artifacts"),
        sa.PrimaryKeyConstraint("verification_id", "name", name="pk_artifacts"),
    )


def _of_verification() -> sa.Column[object]:
    return sa.Column("verification_id", sa.Uuid(), nullable=False)


def _owned_by_verification(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_verification_id"
    return sa.ForeignKeyConstraint(["verification_id"], ["verifications.id"], name=name, ondelete="CASCADE")


def downgrade() -> None:
    """Take the change back."""
    for table in ("artifacts", "checkpoints", "verification_seeds", "verification_epochs", "verifications"):
        op.drop_table(table)

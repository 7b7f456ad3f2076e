"""Campaigns and their trainings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("family", sa.String(length=64), nullable=False),
        sa.Column("request", JSON, nullable=False),
        sa.Column("request_version", sa.Integer(), nullable=False),
        sa.Column("dataset", JSON, nullable=False),
        sa.Column("dataset_key", sa.String(length=500), nullable=False),
        sa.Column("recipe", JSON, nullable=False),
        sa.Column("recipe_digest", sa.String(length=80), nullable=False),
        sa.Column("adapt", sa.Boolean(), nullable=False),
        sa.Column("kept", JSON, nullable=True),
        sa.Column("seeds", JSON, nullable=False),
        sa.Column("strategy", sa.String(length=32), nullable=False),
        sa.Column("trainings", sa.Integer(), nullable=False),
        sa.Column("confirm", sa.Integer(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("core_version", sa.String(length=32), nullable=False),
        sa.Column("result", JSON, nullable=True),
        sa.ForeignKeyConstraint(["id"], ["jobs.id"], name="fk_campaigns_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
    )
    op.create_table(
        "campaign_trainings",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("definition", JSON, nullable=False),
        sa.Column("nn_mass", sa.Double(), nullable=False),
        sa.Column("params", sa.BigInteger(), nullable=False),
        sa.Column("macs", sa.BigInteger(), nullable=False),
        sa.Column("seeds", JSON, nullable=False),
        sa.Column("first_seed", sa.BigInteger(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("predicted", JSON, nullable=True),
        sa.Column("verification_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name="fk_campaign_trainings_campaign_id_campaigns", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["verification_id"],
            ["verifications.id"],
            name="fk_campaign_trainings_verification_id_verifications",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("campaign_id", "number", name="pk_campaign_trainings"),
    )
    network = ["campaign_id", "arch_id", "first_seed"]
    op.create_index("uq_campaign_trainings_network", "campaign_trainings", network, unique=True)
    op.create_index("ix_campaign_trainings_verification_id", "campaign_trainings", ["verification_id"])


def downgrade() -> None:
    """Take the change back. Campaigns go: an earlier release has no worker for them. Their trainings stay."""
    op.execute("DELETE FROM jobs WHERE kind = 'campaign'")
    op.drop_table("campaign_trainings")
    op.drop_table("campaigns")

"""How the networks of each round of a campaign were chosen; random networks near the budget have the role `random`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Apply the change."""
    op.add_column("campaigns", sa.Column("choices", JSON, nullable=False, server_default="[]"))
    op.execute("UPDATE campaign_trainings SET role = 'random' WHERE role = 'near_budget'")
    campaigns = sa.table("campaigns", sa.column("id", sa.Uuid()), sa.column("result", JSON))
    connection = op.get_bind()
    for campaign_id, result in connection.execute(sa.select(campaigns.c.id, campaigns.c.result)).all():
        if result and result["best"] and result["best"]["role"] == "near_budget":
            renamed = result | {"best": result["best"] | {"role": "random"}}
            connection.execute(campaigns.update().where(campaigns.c.id == campaign_id).values(result=renamed))


def downgrade() -> None:
    """Take the change back. Campaigns go: an earlier release does not know all their strategies and roles."""
    op.execute("DELETE FROM jobs WHERE kind = 'campaign'")
    op.drop_column("campaigns", "choices")

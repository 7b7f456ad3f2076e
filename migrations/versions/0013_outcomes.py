"""What a search has proved, as a column by which the history is filtered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SEARCHES = sa.table("searches", sa.column("result", sa.JSON), sa.column("outcome", sa.String))


def upgrade() -> None:
    """Apply the change."""
    op.add_column("searches", sa.Column("outcome", sa.String(16)))
    feasible = SEARCHES.c.result["feasible"].as_boolean()
    outcome = sa.case(
        (feasible.is_(None), "nothing_found"),
        (feasible == sa.false(), "nothing_fits"),
        (SEARCHES.c.result["optimal"].as_boolean() == sa.true(), "proved"),
        else_="not_proved",
    )
    op.execute(SEARCHES.update().where(SEARCHES.c.result.is_not(None)).values(outcome=outcome))


def downgrade() -> None:
    """Take the change back."""
    op.drop_column("searches", "outcome")

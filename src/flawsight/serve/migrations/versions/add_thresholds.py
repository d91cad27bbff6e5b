"""The table of saved thresholds."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "thresholds",
        sa.Column("product", sa.Text(), primary_key=True),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("made_with", sa.String(32), nullable=False),
        sa.Column("saved_ms", sa.BigInteger(), nullable=False),
    )

"""The table of inspections."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "inspections",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("product", sa.Text()),
        sa.Column("photo_format", sa.String(8), nullable=False),
        sa.Column("pred_label", sa.Boolean(), nullable=False),
        sa.Column("pred_score", sa.Float(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("true_label", sa.Boolean()),
        sa.Column("reviewed_ms", sa.BigInteger()),
    )
    op.create_index("inspections_score", "inspections", ["pred_score"])
    op.create_index("inspections_product", "inspections", ["product", "id"])
    op.create_index("inspections_review", "inspections", ["true_label", "id"])

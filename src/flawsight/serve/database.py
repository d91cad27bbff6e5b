"""The one table. A change here needs a migration (migrations/versions)."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Float, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What alembic compares the database with."""


class InspectionRow(Base):
    """One inspection; its photo and arrays lie in a folder called by its id.

    Attributes:
        id: 12 hexadecimal digits of milliseconds, 20 of chance: it sorts by time.
        created_ms: since 1970, UTC. A number, for SQLite knows no time zones.
        content: `Inspection.to_json`, with the model's hash and the threshold.
        true_label: of a reviewer, True for defective; None before.
    """

    __tablename__ = "inspections"
    __table_args__ = (
        Index("inspections_score", "pred_score"),
        Index("inspections_product", "product", "id"),
        Index("inspections_review", "true_label", "id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None] = mapped_column(Text)
    product: Mapped[str | None] = mapped_column(Text)
    photo_format: Mapped[str] = mapped_column(String(8))
    pred_label: Mapped[bool] = mapped_column(Boolean)
    pred_score: Mapped[float] = mapped_column(Float)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    true_label: Mapped[bool | None] = mapped_column(Boolean)
    reviewed_ms: Mapped[int | None] = mapped_column(BigInteger)

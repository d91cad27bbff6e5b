"""The tables. A change here needs a migration (migrations/versions)."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Dialect, Float, Index, String, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ..runs.row_check import upgraded_row


class Base(DeclarativeBase):
    """The metadata that alembic compares the database with."""


class RowContent(TypeDecorator[dict[str, Any]]):
    """JSON column of `Inspection.to_json`; rows of version 0.1 are read under today's names.

    Damaged JSON is read as {}, so that one row never makes a search fail; see stored_rows.py.
    """

    impl = JSON
    cache_ok = True

    def process_result_value(
        self, value: dict[str, Any] | None, dialect: Dialect
    ) -> dict[str, Any]:
        """Rename the fields of a row that an older version wrote."""
        return upgraded_row(value) if isinstance(value, dict) else {}


def parsed_json(text: str) -> Any:
    """Return the value of a JSON column, or None if it is damaged."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


class InspectionRow(Base):
    """One inspection. Its photo and arrays are in a folder named after its id.

    Attributes:
        id: 12 hexadecimal digits, of the milliseconds since 1970 but above those of all earlier
            rows, and 20 random ones. So ids sort by insertion, even if the clock is set back.
        created_ms: milliseconds since 1970, UTC. A number, because SQLite has no time zones.
        content: `Inspection.to_json`, with the model's name and hash.
        true_label: set by a reviewer, True for defective; None before.
        threshold, contradiction: those of `content`, for searches.
        made_with: see `made_with`.
    """

    __tablename__ = "inspections"
    __table_args__ = (
        Index("inspections_score", "pred_score"),
        Index("inspections_product", "product", "id"),
        Index("inspections_review", "true_label", "id"),
        # All that drift is computed of, so that no content is read.
        Index(
            "inspections_drift",
            "product", "created_ms", "made_with", "threshold", "pred_score", "pred_label",
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str | None] = mapped_column(Text)
    product: Mapped[str | None] = mapped_column(Text)
    photo_format: Mapped[str] = mapped_column(String(8))
    pred_label: Mapped[bool] = mapped_column(Boolean)
    pred_score: Mapped[float] = mapped_column(Float)
    content: Mapped[dict[str, Any]] = mapped_column(RowContent)
    true_label: Mapped[bool | None] = mapped_column(Boolean)
    reviewed_ms: Mapped[int | None] = mapped_column(BigInteger)
    threshold: Mapped[float | None] = mapped_column(Float)
    contradiction: Mapped[bool | None] = mapped_column(Boolean)
    made_with: Mapped[str | None] = mapped_column(String(32))


class ThresholdRow(Base):
    """A threshold that somebody has saved for a product, in place of the one it would have.

    Attributes:
        product: "" for inspections that name none.
        threshold: a part is defective if its score is above it.
        made_with: see `made_with`; it holds for these scores alone.
    """

    __tablename__ = "thresholds"

    product: Mapped[str] = mapped_column(Text, primary_key=True)
    threshold: Mapped[float] = mapped_column(Float)
    made_with: Mapped[str] = mapped_column(String(32))
    saved_ms: Mapped[int] = mapped_column(BigInteger)


class RoiRow(Base):
    """A region of interest that somebody has saved for a product.

    Attributes:
        product: "" for inspections that name none.
        roi: as `Settings.roi` has it.
    """

    __tablename__ = "rois"

    product: Mapped[str] = mapped_column(Text, primary_key=True)
    roi: Mapped[str] = mapped_column(Text)
    saved_ms: Mapped[int] = mapped_column(BigInteger)


def made_with(content: Mapping[str, Any]) -> str:
    """Return a hash of what the scale of a score depends on: model, reference and region."""
    named = f"{content.get('model_sha256')}/{content.get('reference_sha256')}"
    if (roi := content.get("roi_setting")) is not None:
        named += f"/{roi}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]

"""Stored rows → JSON. A damaged row is named, logged and left out of pages."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoreError
from .database import InspectionRow
from .schemas import inspection_body
from .store import Page

_log = logging.getLogger(__name__)


@contextmanager
def damage_named(id: str) -> Iterator[None]:
    """Turn whatever damaged data makes code raise into a StoreError that names the inspection."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        _log.exception("Inspection %s is damaged in the store", id)
        raise StoreError(
            f"Inspection {id} is damaged in the store; restore its row and folder from a backup."
        ) from error


def row_json(row: InspectionRow) -> bytes:
    """Return an `InspectionBody`.

    Raises:
        StoreError: if the row is damaged.
    """
    with damage_named(row.id):
        return inspection_body(row).model_dump_json().encode()


def page_json(page: Page) -> bytes:
    """Return an `InspectionsBody`; damaged rows are only named."""
    bodies, damaged = [], []
    for row in page.rows:
        try:
            bodies.append(row_json(row))
        except StoreError:
            damaged.append(row.id)
    rest = json.dumps({"next": page.next, "damaged": damaged}).encode()
    return b'{"inspections":[' + b",".join(bodies) + b"]," + rest[1:]

"""Functions of a reference's file, by its path."""

from pathlib import Path

from .memory import Reference


def save_reference(reference: Reference, path: str | Path) -> None:
    """Write a reference; see `Reference.save`."""
    reference.save(path)


def load_reference(path: str | Path) -> Reference:
    """Read a reference; see `Reference.load`."""
    return Reference.load(path)

"""A cache on disk for the answers of endpoints. No answer is paid for twice."""

import hashlib
import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import DetectorError
from ..io.files import write_atomically
from .completion import Answer


class AnswerCache:
    """A folder with one JSON file per answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    @staticmethod
    def key(request: dict[str, Any], image: bytes) -> str:
        """Return the hash of what an answer depends on: the request as JSON, and the image."""
        described = json.dumps(request, sort_keys=True).encode()
        return hashlib.sha256(hashlib.sha256(described).digest() + image).hexdigest()

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key; None if there is none or its file is damaged."""
        try:
            return Answer(**json.loads(self._path(key).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer.

        Raises:
            DetectorError: if the folder cannot be written.
        """
        path = self._path(key)
        try:
            # Two threads that write the same file share its temporary name.
            with self._lock:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, (json.dumps(asdict(answer), indent=2) + "\n").encode())
        except OSError as error:
            raise DetectorError(
                f"Cannot store answers in {self._folder}: {error.strerror or error}. Free space or "
                "correct the permissions, then rerun the same command to resume."
            ) from error

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"

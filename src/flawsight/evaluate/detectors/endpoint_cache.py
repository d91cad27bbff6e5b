"""The answers of endpoints: read from a response, and kept on disk so that none is paid twice."""

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import DetectorError
from ...run_folder import write_atomically


@dataclass(frozen=True)
class Answer:
    """What a server answered to one image.

    Attributes:
        text: with the reasoning in <think> tags, even where the server sent it apart.
        finish_reason: "stop", or why the text ends otherwise, like "length".
        input_tokens, output_tokens: as the server counts them; None if it does not say.
        seconds: time spent on the request, its repetitions and the wait for its turn included.
    """

    text: str
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    seconds: float


def read_completion(completion: Any, seconds: float) -> Answer | None:
    """Return the answer in what the client made of a response; None if that is no chat completion.

    The client does not check what a server sends, so anything may be missing.

    Args:
        completion: of the openai package, or anything else.
        seconds: time spent on the request.
    """
    try:
        choice = completion.choices[0]
        message = choice.message
        text = message.content or getattr(message, "refusal", None) or ""
        # Some servers take the reasoning out of the text.
        apart = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        if apart and "<think>" not in text:
            text = f"<think>{apart}</think>{text}"
        if not isinstance(text, str):
            return None
        usage = completion.usage
        return Answer(
            text=text,
            finish_reason=choice.finish_reason,
            input_tokens=None if usage is None else int(usage.prompt_tokens),
            output_tokens=None if usage is None else int(usage.completion_tokens),
            seconds=seconds,
        )
    except (AttributeError, IndexError, TypeError, ValueError):
        return None


class AnswerCache:
    """A folder with one JSON file an answer. Without a folder it keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    @staticmethod
    def key(request: dict[str, Any], image: bytes) -> str:
        """Return the hash of all that an answer depends on: the request as JSON, and the image."""
        described = json.dumps(request, sort_keys=True).encode()
        return hashlib.sha256(hashlib.sha256(described).digest() + image).hexdigest()

    def get(self, key: str) -> Answer | None:
        """Return the answer kept under the key. A damaged file is as none."""
        if self._folder is None:
            return None
        try:
            return Answer(**json.loads(self._path(self._folder, key).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            DetectorError: if the folder cannot be written.
        """
        if self._folder is None:
            return
        path = self._path(self._folder, key)
        try:
            # Threads share the temporary name of a file that two of them write.
            with self._lock:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, (json.dumps(asdict(answer), indent=2) + "\n").encode())
        except OSError as error:
            raise DetectorError(
                f"Cannot keep answers in {self._folder}: {error.strerror or error}. Make room or "
                "mend the permissions, and run the same command again."
            ) from error

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.json"

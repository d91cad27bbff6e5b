"""The tokens that clients send. Those of a file can be rotated while the service runs."""

import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import ServeError

TOKEN_VARIABLE = "FLAWSIGHT_TOKEN"
_SHORTEST_TOKEN = 16
# A file may change twice within one tick of its clock; younger ones are read once more.
_SETTLED_SECONDS = 2.0
_log = logging.getLogger(__name__)


class AccessTokens:
    """Tokens, one per line.

    Args:
        text: the tokens, if they are not in a file.
        file: the file of the tokens, read again whenever it changes. If it can then not be read or
            has a bad token, those read before stay valid.

    Raises:
        ServeError: if there is no token, or one is too weak, or the file is unreadable.
    """

    def __init__(self, text: str = "", file: Path | None = None) -> None:
        self._file = file
        self._version: tuple[int, int, int] | None = None
        self._problem = ""
        self._digests = _digests(text if file is None else _read(file), file)

    def known(self, shown: str) -> bool:
        """Compare with each token in constant time."""
        if self._file is not None:
            self._read_again(self._file)
        digest = _digest(shown)
        # A sum looks at all of them.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _read_again(self, file: Path) -> None:
        try:
            found = file.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if version == self._version:
                return
            self._version = version if time.time() - found.st_mtime > _SETTLED_SECONDS else None
            digests = _digests(_read(file), file)
        except (OSError, ServeError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("%s The tokens that were read before stay valid.", error)
            return
        self._problem = ""
        if digests != self._digests:
            self._digests = digests
            _log.warning("%s has changed: %d tokens are valid.", file, len(digests))


def read_tokens(
    host: str, token_file: Path | None, environment: Mapping[str, str]
) -> AccessTokens | None:
    """Return the tokens of which clients must send one, or None if none is needed.

    Raises:
        ServeError: if a token is needed and there is none, or it is too weak or unreadable.
    """
    if token_file is not None:
        return AccessTokens(file=token_file)
    text = environment.get(TOKEN_VARIABLE, "")
    if text.strip():
        return AccessTokens(text)
    if is_loopback(host):
        return None
    raise ServeError(
        f"Other machines can reach {host}, so a token is needed: set {TOKEN_VARIABLE} or "
        "--token-file FILE (openssl rand -hex 32 makes a token), or bind to 127.0.0.1."
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ServeError(f"Cannot read the token in {file}: {error}.") from error


def _digests(text: str, file: Path | None) -> tuple[bytes, ...]:
    place = TOKEN_VARIABLE if file is None else str(file)
    tokens = [line.strip() for line in text.split("\n") if line.strip()]
    if not tokens:
        raise ServeError(f"There is no token in {place}; openssl rand -hex 32 makes one.")
    for number, token in enumerate(tokens, start=1):
        if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise ServeError(
                f"A token must be at least {_SHORTEST_TOKEN} printable ASCII characters long; "
                f"number {number} in {place} is not."
            )
    return tuple(map(_digest, tokens))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()

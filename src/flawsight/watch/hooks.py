"""Where the rows of defective photos go: a command, a webhook or an MQTT topic."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ..errors import MissingExtraError, WatchError

TOKEN = "FLAWSIGHT_HOOK_TOKEN"
_TIMEOUT = 10.0  # seconds
_COMMAND_TIMEOUT, _COMMAND_TRIES = 60.0, 8
# Of the answers below 500, those that another try may change.
_TEMPORARY = {408, 425, 429}


class HookError(WatchError):
    """A row was not taken. If the error is `permanent`, another try is of no use."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True)
class Hook:
    """Takes rows.

    Attributes:
        send: takes the JSON of a row; raises HookError if the row was not taken.
        tries: after which a row is given up; None for no end, for a server that will be back.
    """

    send: Callable[[bytes], None]
    tries: int | None = None


def open_hook(given: str) -> Hook:
    """Return what sends rows to a URL (http, https, mqtt, mqtts) or to a command's input.

    Raises:
        WatchError: if the URL is incomplete, or there is no such command.
        MissingExtraError: for MQTT without paho-mqtt.
    """
    scheme, separator, _ = given.partition("://")
    if separator and " " not in scheme:
        return _open_url(given, scheme.lower())
    try:
        words = shlex.split(given, posix=os.name != "nt")
    except ValueError as error:
        raise WatchError(f"--on-defective {given}: {error}; quote the command right.") from error
    if not words or shutil.which(words[0]) is None:
        raise WatchError(
            f"--on-defective: there is no command {words[0] if words else given!r}; give the path "
            "of a program, or a URL."
        )
    return Hook(lambda content: _run(words, content), _COMMAND_TRIES)


def _open_url(given: str, scheme: str) -> Hook:
    try:
        url = urlsplit(given)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise WatchError(f"--on-defective: {error}; give a whole URL.") from error
    if scheme not in ("http", "https", "mqtt", "mqtts") or not host:
        raise WatchError(
            f"--on-defective {scheme}://…: give http://HOST/PATH, https://HOST/PATH or "
            "mqtt://HOST/TOPIC."
        )
    if scheme.startswith("http"):
        return Hook(lambda content: _post(given, content))
    if not url.path.strip("/") or "+" in url.path or "#" in given:
        raise WatchError("--on-defective mqtt://HOST/TOPIC needs a topic, without + and #.")
    try:
        import paho.mqtt.publish  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("paho-mqtt", "mqtt") from error
    return Hook(lambda content: _publish(url, content))


def _run(words: list[str], content: bytes) -> None:
    try:
        done = subprocess.run(
            words, input=content, capture_output=True, timeout=_COMMAND_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HookError(f"{words[0]}: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise HookError(
            f"{words[0]} ended with code {done.returncode}{f': {said[-1]}' if said else ''}"
        )


class _NoRedirects(HTTPRedirectHandler):
    """A redirected POST would become a GET, and lose the row."""

    def redirect_request(self, *_: object) -> None:
        return None


def _post(url: str, content: bytes) -> None:
    place = f"{urlsplit(url).scheme}://{urlsplit(url).hostname}"  # a query may hold a secret
    headers = {"Content-Type": "application/json", "User-Agent": "flawsight"}
    if token := os.environ.get(TOKEN):
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = Request(url, data=content, headers=headers, method="POST")
        with build_opener(_NoRedirects).open(request, timeout=_TIMEOUT):
            pass
    except HTTPError as error:
        error.close()
        permanent = error.code < 500 and error.code not in _TEMPORARY
        raise HookError(f"{place} answers {error.code}", permanent=permanent) from error
    except URLError as error:
        raise HookError(f"{place}: {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise HookError(f"{place}: {error}") from error


def _publish(url: SplitResult, content: bytes) -> None:
    from paho.mqtt import publish

    secure = url.scheme.lower() == "mqtts"
    user = {} if url.username is None else {"username": unquote(url.username)}
    if url.password is not None:
        user["password"] = unquote(url.password)
    try:
        publish.single(
            unquote(url.path.lstrip("/")), content, qos=1, hostname=url.hostname,
            port=url.port or (8883 if secure else 1883), auth=user or None,
            tls={} if secure else None,
        )  # fmt: skip
    except Exception as error:  # sockets, TLS and the broker's refusals have no common class
        raise HookError(f"{url.scheme}://{url.hostname}: {error}") from error

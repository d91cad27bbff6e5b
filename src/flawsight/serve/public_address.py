"""Where clients find a service that is behind a reverse proxy."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import ServeError

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class PublicAddress:
    """Where clients find the service behind a reverse proxy.

    Attributes:
        root_path: below which the proxy serves it, such as /flawsight, whether or not the proxy
            strips it from requests.
        origin: scheme, host and port of the proxy, such as https://line3.example; None if the proxy
            passes the Host header on, or there is none.
    """

    root_path: str = ""
    origin: str | None = None

    def __post_init__(self) -> None:
        root_path = "/" + self.root_path.strip("/") if self.root_path.strip("/") else ""
        if not _ROOT_PATH.fullmatch(root_path):
            raise ServeError(f"--root-path is {self.root_path!r}; give a path such as /flawsight.")
        object.__setattr__(self, "root_path", root_path)
        if self.origin is not None:
            object.__setattr__(self, "origin", _origin(self.origin))

    @property
    def host(self) -> str | None:
        """The Host header of requests to the origin."""
        return None if self.origin is None else self.origin.partition("://")[2]

    def route(self, path: str) -> str:
        """Return the path of a request without the root path."""
        inside = path == self.root_path or path.startswith(f"{self.root_path}/")
        return path.removeprefix(self.root_path) if inside else path


def _origin(given: str) -> str:
    """Return an origin as browsers write it: in lower case, without the default port."""
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in _PORTS or not parts.hostname or not bare:
        raise ServeError(
            f"--public-origin is {given!r}; give scheme and host, such as https://line3.example."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = port in (None, _PORTS[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if default else f":{port}")

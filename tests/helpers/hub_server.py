"""A stand-in for the Hugging Face hub on loopback: repositories in memory, refusals to order."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

TOKEN = "hf_of_the_test"
_LARGE = (".safetensors", ".reference")


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        repositories: contents by name, by repository.
        private: the repositories that need the token.
        refused: parts of paths that are answered with 403.
        requests: method and path of each request.
    """

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    refused: tuple[str, ...] = ()
    requests: list[str] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)

    def revision(self, name: str) -> str:
        """Return what stands for the last commit: it changes with any file."""
        files = sorted(self.repositories[name].items())
        return hashlib.sha1(repr(files).encode()).hexdigest()

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> Any:
        """Return a status, headers and the body, or JSON as it."""
        route = path.partition("?")[0]
        self.requests.append(f"{method} {route}")
        if any(part in route for part in self.refused):
            return 403, {}, {"error": "Forbidden"}
        if route == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            return 200, {}, {}
        if method == "PUT":
            assert hashlib.sha256(body).hexdigest() == route.rpartition("/")[2]
            self.large[route.rpartition("/")[2]] = body
            return 200, {}, {}
        if route in ("/api/whoami-v2", "/api/repos/create") and token != TOKEN:
            return 401, {}, {"error": "Invalid credentials"}
        if route == "/api/whoami-v2":
            return 200, {}, {"type": "user", "name": "acme"}
        if route == "/api/repos/create":
            return self._create(json.loads(body))
        name = re.sub(r"^/(api/models/)?", "", route)
        name = "/".join(name.split("/")[:2]).removesuffix(".git")
        if name not in self.repositories or (name in self.private and token != TOKEN):
            return 401, {"X-Error-Code": "RepoNotFound"}, {"error": "Repository not found"}
        return self._answer_of(name, method, route, body)

    def _create(self, asked: dict[str, Any]) -> Any:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return 409, {}, {"error": "exists", "url": f"{self.url}/{name}"}
        self.repositories[name] = {}
        if asked.get("visibility") == "private" or asked.get("private"):
            self.private.add(name)
        return 200, {}, {"url": f"{self.url}/{name}"}

    def _answer_of(self, name: str, method: str, route: str, body: bytes) -> Any:
        files = self.repositories[name]
        if "/preupload/" in route:
            modes = [
                {
                    "path": one["path"], "shouldIgnore": False,
                    "uploadMode": "lfs" if one["path"].endswith(_LARGE) else "regular",
                }
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return 200, {}, {"files": modes}
        if route.endswith("/info/lfs/objects/batch"):
            asked = json.loads(body)["objects"]
            actions = [
                one | {"actions": {"upload": {"href": f"{self.url}/large/{one['oid']}"}}}
                for one in asked
            ]
            return 200, {}, {"objects": actions, "transfer": "basic"}
        if "/commit/" in route:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
            revision = self.revision(name)
            return 200, {}, {"commitUrl": f"{self.url}/{name}/commit/{revision}",
                             "commitOid": revision, "pullRequestUrl": None}  # fmt: skip
        revision = self.revision(name)
        if "/tree/" in route:
            tree = [
                {"type": "file", "path": path, "size": len(content),
                 "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]  # fmt: skip
            return 200, {}, tree
        if "/resolve/" in route:
            content = files[route.rpartition("/")[2]]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            return 200, {"X-Repo-Commit": revision, "ETag": etag}, content
        siblings = [{"rfilename": path} for path in files]
        about = {"id": name, "modelId": name, "sha": revision, "siblings": siblings}
        return 200, {}, about | {"private": name in self.private, "tags": [], "downloads": 0}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a stand-in until the end of the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
            try:
                status, headers, found = hub.answer(self.command, self.path, body, token)
            except Exception as error:
                status, headers, found = 400, {}, {"errors": [{"message": repr(error)}]}
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def use_hub(hub: Hub, cache: Path, patch: pytest.MonkeyPatch, token: str | None = TOKEN) -> None:
    """Have this process take the stand-in for the hub, as HF_ENDPOINT does in a new one."""
    constants = "huggingface_hub.constants"
    patch.setattr(f"{constants}.ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(f"{constants}.HF_HUB_CACHE", str(cache))
    patch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
    patch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    patch.setattr(f"{constants}.HF_TOKEN_PATH", str(cache / "no-token"))
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    if token is None:
        patch.delenv("HF_TOKEN", raising=False)
    else:
        patch.setenv("HF_TOKEN", token)

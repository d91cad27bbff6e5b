"""A reverse proxy below a path, or one that ends TLS."""

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PREFIX = "/flawsight"
_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}


def certificate(folder: Path) -> Path:
    """Make a key and a certificate of localhost in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    file = folder / "localhost.pem"
    words = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -batch"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", *words.split(), *names, "-keyout", file, "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_bytes(file.read_bytes() + (folder / "cert.pem").read_bytes())
    return file


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def proxying(port: int, at: int = 0, pem: Path | None = None) -> Iterator[str]:
    """Yield the address below which the service at a port is found.

    As nginx does by default, it changes the Host header. With a certificate it ends TLS at the root
    instead, passes Host on and says so, as other proxies do.
    """
    prefix = "" if pem else PREFIX

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size) if size else None
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            if pem:
                headers |= {"Host": self.headers["Host"], "X-Forwarded-Proto": "https"}
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            upstream.request(self.command, self.path.removeprefix(prefix), body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _pass

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", at), Handler)
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        host = "https://localhost" if pem else "http://127.0.0.1"
        yield f"{host}:{server.server_port}{prefix}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

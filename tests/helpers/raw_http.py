"""Raw bytes to a server, and what it must answer."""

import contextlib
import json
import re
import socket


def read(connection: socket.socket) -> bytes:
    """Return one response, or what comes before the server closes."""
    received = b""
    with contextlib.suppress(OSError):
        while piece := connection.recv(1 << 16):
            received = (received + piece).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            headers, _, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", headers.lower())
            if length and len(body) >= int(length[1]):
                break
    return received


def exchange(port: int, *pieces: bytes) -> bytes:
    """Send bytes; return the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        return read(connection)


def head(body: bytes = b"", kind: bytes = b"application/json", more: bytes = b"") -> bytes:
    return (
        b"POST /v1/inspect HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: "
        + kind + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n" + more + b"\r\n"
    )  # fmt: skip


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def check(answer: bytes, sent: bytes) -> int:
    """Check that an answer is ours: JSON that names an error, and never a 500."""
    assert answer.startswith(b"HTTP/1.1 "), (answer, sent[:300])
    headers, _, body = answer.partition(b"\r\n\r\n")
    if status(answer) >= 400:
        assert b"application/json" in headers.lower(), (answer, sent[:300])
        assert b"content-security-policy" in headers.lower()
        length = re.search(rb"content-length: (\d+)", headers.lower())
        # Behind it may be an answer to what is left of a request that says it is shorter.
        parsed = json.loads(body[: int(length[1])] if length else body)
        assert "error" in parsed or parsed["results"][0]["error"]["message"]
    assert status(answer) < 500, (answer, sent[:300])
    return status(answer)

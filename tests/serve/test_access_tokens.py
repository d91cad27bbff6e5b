"""Tokens from a file or the environment, and their rotation while the service runs."""

import base64
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from flawsight.errors import ServeError
from flawsight.serve.access_tokens import AccessTokens, is_loopback, read_tokens
from flawsight.serve.app import create_app
from flawsight.serve.limits import Limits
from flawsight.serve.store import Store
from helpers.serving import BATCH, inspect_batch

OLD, NEW = "the-old-key-of-the-tests", "the-new-key-of-the-tests"


def test_a_token_is_needed_outside_loopback(tmp_path: Path) -> None:
    assert read_tokens("127.0.0.1", None, {}) is None
    file = tmp_path / "token"
    file.write_text(f"{OLD}\n")
    for tokens in (
        read_tokens("127.0.0.1", None, {"FLAWSIGHT_TOKEN": OLD}),
        read_tokens("0.0.0.0", None, {"FLAWSIGHT_TOKEN": f" {OLD}\n"}),
        read_tokens("::", file, {"FLAWSIGHT_TOKEN": NEW}),
    ):
        assert tokens is not None
        assert tokens.known(OLD)
        assert not any(map(tokens.known, (NEW, "", f"{OLD}x", OLD[:-1], "\ud800")))
    for host in ("0.0.0.0", "::", "10.0.0.1", "line3.example"):
        with pytest.raises(ServeError, match="FLAWSIGHT_TOKEN"):
            read_tokens(host, None, {"FLAWSIGHT_TOKEN": " "})
    assert [is_loopback(h) for h in ("localhost", "127.8.0.1", "[::1]", "x")] == [True] * 3 + [
        False
    ]


@pytest.mark.parametrize(
    "bad", ["short", "ü" * 20, "a b\tc" * 9, f"{OLD}\nshort", f"{OLD}\x0c{NEW}"]
)
def test_a_weak_token_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ServeError, match="16 printable") as of_environment:
        read_tokens("127.0.0.1", None, {"FLAWSIGHT_TOKEN": bad})
    file = tmp_path / "token"
    file.write_text(bad)
    with pytest.raises(ServeError, match="16 printable") as of_file:
        read_tokens("127.0.0.1", file, {})
    assert str(file) in str(of_file.value)
    assert bad not in str(of_environment.value) + str(of_file.value)


@pytest.mark.parametrize("content", [None, b"", b"\n \r\n", b"\xff\xfe\x00", "folder"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    file = tmp_path / "token"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        file.mkdir()
    with pytest.raises(ServeError, match=str(file)):
        read_tokens("127.0.0.1", file, {})


@pytest.mark.parametrize(
    "content",
    [f"{OLD}\n{NEW}", f"\n{NEW}\r\n\r\n  {OLD}  \r\n", f"\ufeff{OLD}\n{NEW}\n"],
)
def test_a_file_may_hold_several(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content.encode())
    tokens = AccessTokens(file=file)
    assert tokens.known(OLD)
    assert tokens.known(NEW)
    assert not tokens.known(f"{OLD}\n{NEW}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(OLD)
    return file


@pytest.fixture
def status(file: Path, tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Return what the page's first request gets, by Bearer and by the browser's login."""
    tokens = read_tokens("0.0.0.0", file, {})
    app = create_app(inspect_batch, BATCH, Store(str(tmp_path / "store")), Limits(rate=0), tokens)
    with TestClient(app, base_url="http://line3.example") as client:

        def get(token: str) -> int:
            login = base64.b64encode(f"anyone:{token}".encode()).decode()
            answers = [
                client.get(path, headers={"Authorization": header})
                for path in ("/", "/v1/inspections")
                for header in (f"Bearer {token}", f"Basic {login}")
            ]
            (found,) = {answer.status_code for answer in answers}
            assert found == 200 or answers[0].headers["www-authenticate"].startswith("Basic")
            return found

        yield get


def test_a_key_is_rotated_without_a_restart(
    file: Path, status: Callable[[str], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert (status(OLD), status(NEW)) == (200, 401)
    file.write_text(f"{OLD}\n{NEW}\n")
    assert (status(OLD), status(NEW)) == (200, 200)
    file.write_text(f"{NEW}\n")
    assert (status(OLD), status(NEW)) == (401, 200)
    # As a program does that writes another file first, with an older date.
    other = file.with_name("other")
    other.write_text(OLD)
    os.utime(other, (1, 1))
    other.replace(file)
    assert (status(OLD), status(NEW)) == (200, 401)
    assert caplog.text.count("has changed") == 3
    assert OLD not in caplog.text
    assert NEW not in caplog.text


@pytest.mark.parametrize("fault", ["empty", "short", "bytes", "gone", "folder"])
def test_a_bad_file_leaves_the_old_keys(
    file: Path, status: Callable[[str], int], caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    assert status(OLD) == 200
    if fault in ("gone", "folder"):
        file.unlink()
        if fault == "folder":
            file.mkdir()
    else:
        file.write_bytes({"empty": b"", "short": b"x", "bytes": b"\xff" * 20}[fault])
    for _ in range(3):
        assert (status(OLD), status(NEW), status("x")) == (200, 401, 401)
    (said,) = caplog.messages
    assert str(file) in said
    assert "stay valid" in said
    if fault == "folder":
        file.rmdir()
    file.write_text(NEW)
    assert (status(OLD), status(NEW)) == (401, 200)


def test_an_unchanged_file_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(file, (1, 1))
    tokens = AccessTokens(file=file)
    assert tokens.known(OLD)
    monkeypatch.setattr(Path, "read_text", None)
    assert tokens.known(OLD)
    assert not tokens.known(NEW)

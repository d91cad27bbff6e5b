"""The rows of defective photos reach a command, a server or a broker, each at least once."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flawsight.errors import FlawsightError
from flawsight.watch import hooks
from flawsight.watch.hooks import Hook, HookError, open_hook
from flawsight.watch.outbox import FILE, Outbox
from helpers.waiting import wait_until
from helpers.watching import photo, watching, web_server

ROW = {"image": "/line/a.png", "pred_label": True, "file": {"bytes": 1, "crc32": "ab"}}


def test_a_server_gets_each_defective_row_after_its_failures(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with (
        web_server([503, 429]) as (url, received),
        watching(folder, tmp_path / "run", hook=open_hook(url)) as watch,
    ):
        (folder / "bad.png").write_bytes(photo(1, defective=True))
        (folder / "good.png").write_bytes(photo(2))
        watch.wait_for(2)
        wait_until(lambda: "answers" in watch.status.notes.get("hook", ""))
        wait_until(lambda: len(received) == 3)
        wait_until(lambda: "hook" not in watch.status.notes)
    assert [one["code"] for one in received] == [503, 429, 200]
    (row,) = (row for row in watch.rows if row["pred_label"])
    assert received[-1]["row"] == row
    assert watch.status.unsent == 0


def test_what_a_server_refuses_for_good_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with (
        web_server([400]) as (url, received),
        watching(folder, tmp_path / "run", hook=open_hook(url)) as watch,
    ):
        (folder / "bad.png").write_bytes(photo(1, defective=True))
        wait_until(lambda: len(received) == 1)
    assert (watch.status.given_up, watch.status.unsent) == (1, 0)


def test_a_token_is_sent_and_a_refusal_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hooks.TOKEN, "secret")
    notes: list[str | None] = []
    with web_server([400]) as (url, received):
        outbox = Outbox(tmp_path, open_hook(f"{url}?key=hidden"), note=notes.append)
        for name in "ab":
            outbox.announce(name, "ab")
            outbox.send(ROW | {"image": name})
        wait_until(lambda: len(received) == 2)
        assert outbox.close() == 0
    assert received[0]["headers"]["Authorization"] == "Bearer secret"
    assert outbox.given_up == 1
    assert "answers 400; given up" in str(notes[0])
    assert "hidden" not in str(notes)


def test_what_was_not_taken_is_sent_at_the_next_start(tmp_path: Path) -> None:
    """Also what a kill left: announced with a row, announced without one, a torn line."""
    taken: list[bytes] = []

    def refuse(content: bytes) -> None:
        raise HookError("it is down")

    outbox = Outbox(tmp_path, Hook(refuse))
    for image in ("a", "b", "no row", "relabelled"):
        outbox.announce(image, "ab")
    outbox.send(ROW | {"image": "a"})
    assert outbox.close(0.1) == 1
    with (tmp_path / FILE).open("a") as file:
        file.write('{"state": "done", "ima')
    rows = [ROW | {"image": image} for image in ("old", "a", "b")]
    rows += [ROW | {"image": "relabelled", "pred_label": False}]
    again = Outbox(tmp_path, Hook(taken.append), rows)
    assert again.close() == 0
    assert [json.loads(content)["image"] for content in taken] == ["a", "b"]
    last = Outbox(tmp_path, Hook(taken.append), rows)
    assert last.close() == 0
    assert len(taken) == 2


def test_a_command_gets_the_row_as_its_input(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    script = tmp_path / "stop line.py"
    script.write_text(code)
    content = json.dumps(ROW).encode()
    open_hook(f"{sys.executable} '{script}' '{tmp_path / 'got it'}'").send(content)
    assert (tmp_path / "got it").read_bytes() == content


def test_a_command_that_fails_is_given_up_after_some_tries(tmp_path: Path) -> None:
    hook = open_hook(f"{sys.executable} -c 'raise SystemExit(\"no relay\")'")
    assert hook.tries is not None
    with pytest.raises(HookError, match="code 1: no relay"):
        hook.send(b"{}")
    notes: list[str | None] = []
    outbox = Outbox(tmp_path, Hook(hook.send, 2), note=notes.append, first_pause=0.01)
    outbox.announce("a", "ab")
    outbox.send(ROW)
    wait_until(lambda: outbox.given_up == 1)
    assert outbox.close() == 0
    assert [str(note).rpartition("; ")[2] for note in notes] == ["trying again.", "given up."]


def test_a_redirect_does_not_lose_the_row() -> None:
    with web_server([302]) as (url, _), pytest.raises(HookError, match="302"):
        open_hook(url).send(b"{}")


def test_a_server_that_is_gone_may_come_back() -> None:
    with pytest.raises(HookError, match="refused") as caught:
        open_hook("http://127.0.0.1:9/reject").send(b"{}")
    assert not caught.value.permanent
    assert open_hook("http://127.0.0.1:9/reject").tries is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no-such-program --now", "no command .no-such-program"),
        ("", "no command"),
        ("python 'unclosed", "quote the command"),
        ("ftp://host/x", "give http://"),
        ("http:///x", "give http://"),
        ("http://host:port/x", "whole URL"),
        ("mqtt://host", "needs a topic"),
        ("mqtt://host/line3/#", "needs a topic"),
    ],
)
def test_a_wrong_hook_is_refused_at_the_start(given: str, words: str) -> None:
    with pytest.raises(FlawsightError, match=words):
        open_hook(given)


def test_mqtt_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    monkeypatch.setitem(sys.modules, "paho.mqtt.publish", None)
    with pytest.raises(FlawsightError, match=r"flawsight\[mqtt\]"):
        open_hook("mqtt://host/line3")


@pytest.fixture
def broker() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    """An MQTT 3.1.1 broker for one client: it confirms, and keeps what is published."""
    published: list[tuple[str, bytes]] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def packet(stream: socket.SocketIO) -> tuple[int, bytes]:
        first = stream.read(1)
        if not first:
            return 0, b""
        length = shift = 0
        while True:
            (byte,) = stream.read(1)
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first[0], stream.read(length) if length else b""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            while True:
                kind, body = packet(stream)
                if kind >> 4 == 1:
                    connection.sendall(b"\x20\x02\x00\x00")
                elif kind >> 4 == 3:
                    end = 2 + int.from_bytes(body[:2])
                    published.append((body[2:end].decode(), body[end + 2 :]))
                    connection.sendall(b"\x40\x02" + body[end : end + 2])
                elif kind in (0, 0xE0):
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], published
    listener.close()


def test_a_broker_gets_the_row(broker: tuple[int, list[tuple[str, bytes]]]) -> None:
    pytest.importorskip("paho.mqtt.publish")
    port, published = broker
    open_hook(f"mqtt://user:pass%20word@127.0.0.1:{port}/line3/reject").send(b'{"a": 1}')
    assert published == [("line3/reject", b'{"a": 1}')]

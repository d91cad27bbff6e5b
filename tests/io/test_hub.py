"""Repositories of the Hugging Face hub, against a stand-in on loopback."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flawsight.errors import HubError
from flawsight.io.hub import check_push, fetch_files, is_hub_name, push_files
from helpers.hub_server import TOKEN, Hub, running_hub, use_hub

NAME = "acme/line3"
CARD = "---\ntags: [a]\n---\n# Card\n"
WEIGHTS = bytes(range(256)) * 40


def test_what_is_pushed_comes_back(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(WEIGHTS)
    files = {"a.safetensors": tmp_path / "w", "config.json": b"{}"}
    check_push(NAME)
    assert push_files(NAME, files, CARD) == f"{hub.url}/{NAME}"
    assert hub.private == {NAME}
    stored = hub.repositories[NAME]
    assert stored["a.safetensors"] == WEIGHTS
    card = stored["README.md"].decode()
    assert card.startswith(CARD)
    assert yaml.safe_load(card.split("---\n")[1]) == {"tags": ["a"]}
    sums = stored["SHA256SUMS"].decode().splitlines()
    assert sums == [f"{hashlib.sha256(c).hexdigest()}  {n}" for n, c in
                    (("a.safetensors", WEIGHTS), ("config.json", b"{}"))]  # fmt: skip
    assert all(line in card for line in sums)
    folder = fetch_files(NAME, ["*.safetensors"])
    assert (folder / "a.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "config.json").exists()
    push_files(NAME, files | {"config.json": b"[]"}, CARD)
    assert (fetch_files(NAME, ["*.json"]) / "config.json").read_bytes() == b"[]"


def test_a_file_that_is_not_the_one_that_was_pushed_is_refused(hub: Hub) -> None:
    push_files(NAME, {"config.json": b"{}"}, CARD)
    hub.repositories[NAME]["config.json"] = b"[]"
    with pytest.raises(HubError, match=r"config\.json of acme/line3 is not the file"):
        fetch_files(NAME, ["*.json"])


def test_a_repository_without_hashes_is_taken(hub: Hub) -> None:
    hub.repositories["other/adapter"] = {"config.json": b"{}"}
    assert (fetch_files("other/adapter", ["*.json"]) / "config.json").read_bytes() == b"{}"


def test_the_cache_serves_while_the_hub_is_away(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_files(NAME, {"config.json": b"{}"}, CARD)
    fetch_files(NAME, ["*.json"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = fetch_files(NAME, ["*.json"])
    # What has been damaged in the cache since is found, too.
    (folder / "config.json").resolve().write_bytes(b"[]")
    with pytest.raises(HubError, match="is not the file"):
        fetch_files(NAME, ["*.json"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(HubError, match="unset HF_HUB_OFFLINE"):
        fetch_files(NAME, ["*.json"])
    with pytest.raises(HubError, match=r"Cannot push to 'acme/line3': .*unset HF_HUB_OFFLINE"):
        check_push(NAME)


def test_a_private_repository_needs_the_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_files(NAME, {"config.json": b"{}"}, CARD)
    use_hub(hub, tmp_path / "other", monkeypatch, token=None)
    for name in (NAME, "acme/none"):
        with pytest.raises(HubError, match="no such repository, or it is private; log in"):
            fetch_files(name, ["*.json"])
    with pytest.raises(HubError, match="you are not logged in; log in"):
        check_push(NAME)
    use_hub(hub, tmp_path / "other", monkeypatch, token="hf_wrong")
    with pytest.raises(HubError, match=r"the hub refuses it \(401\); log in"):
        check_push(NAME)


@pytest.mark.parametrize("step", ["/repos/create", "/commit/", "/info/lfs"])
def test_a_refusal_is_explained(hub: Hub, step: str) -> None:
    hub.refused = (step,)
    with pytest.raises(HubError, match=r"Cannot push to 'acme/line3': the hub refuses it \(403\)"):
        push_files(NAME, {"a.safetensors": WEIGHTS}, CARD)
    assert not hub.repositories.get(NAME)


def test_no_server_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(Hub(url="http://127.0.0.1:9"), tmp_path, monkeypatch)
    with pytest.raises(HubError, match=r"Cannot fetch 'acme/line3' .*refused \(http://127"):
        fetch_files(NAME, ["*.json"])
    for push in (check_push, lambda name: push_files(name, {}, CARD)):
        with pytest.raises(HubError, match=r"Cannot push to 'acme/line3': .*refused \(http://127"):
            push(NAME)


@pytest.mark.parametrize(
    "name", ["line3", "a/b/c", "acme/", "./line3", "acme/line 3", "a/b--c", ""]
)
def test_names_that_are_none(hub: Hub, name: str) -> None:
    with pytest.raises(HubError, match="is no OWNER/NAME on the hub"):
        check_push(name)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a/b", True), (Path("a/b"), True), ("/a/b", False), ("/a", False), ("./a/b", False),
     ("~/a", False), ("a", False), ("", False), ("a/b/c", False), (Path("/a"), False)],
)  # fmt: skip
def test_what_may_be_on_the_hub(name: str | Path, is_one: bool) -> None:
    assert is_hub_name(name) is is_one


def test_the_environment_names_the_hub(tmp_path: Path) -> None:
    code = (
        "from flawsight.io.hub import check_push, fetch_files, push_files\n"
        "import sys\n"
        f"check_push({NAME!r}); push_files({NAME!r}, {{'a.json': b'{{}}'}}, {CARD!r})\n"
        f"print(fetch_files({NAME!r}, ['*.json']) / 'a.json')\n"
        "assert 'torch' not in sys.modules"
    )
    with running_hub() as hub:
        own = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path),
               "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}  # fmt: skip
        found = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True
        )
    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()).read_bytes() == b"{}"

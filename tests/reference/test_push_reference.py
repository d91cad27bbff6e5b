"""References by the Hugging Face hub, against a stand-in on loopback."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from flawsight.cli.options import load_reference
from flawsight.errors import LearnError
from flawsight.reference.memory import Reference
from flawsight.reference.push_reference import push_reference, reference_card
from helpers.good_photos import learn, part, write_reference
from helpers.hub_server import Hub

NAME = "acme/line3"


def test_a_pushed_reference_comes_back(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "a.reference"
    reference = write_reference(file)
    assert push_reference(reference, NAME) == f"{hub.url}/{NAME}"
    assert hub.repositories[NAME]["good.reference"] == file.read_bytes()
    for found in (Reference.from_pretrained(NAME), load_reference(Path(NAME))):
        assert found is not None
        assert found.sha256 == reference.sha256
        assert [one.name for one in found.photos] == [one.name for one in reference.photos]
        assert torch.equal(found.vectors, reference.vectors)
    asked = len(hub.requests)
    assert Reference.from_pretrained(file).sha256 == reference.sha256
    assert len(hub.requests) == asked


def test_the_card_says_what_the_photos_promise(tmp_path: Path) -> None:
    reference = write_reference(tmp_path / "a.reference")
    _, matter, text = reference_card(reference, NAME).split("---\n", 2)
    about = yaml.safe_load(matter)
    assert about["library_name"] == "flawsight"
    assert "license" not in about
    assert f"| {reference.threshold():.3f} | 20.0% |" in text  # four photos: 1 in 5
    assert f"--reference {NAME}" in text
    made_with = json.loads(text.split("```json")[1].split("```")[0])
    assert made_with["reference_sha256"] == reference.sha256
    assert made_with["model_sha256"] == reference.model_sha256
    one = learn(None, [("a.png", part(1))])
    assert "One photo promises no rate" in reference_card(one, NAME)


def test_what_is_no_reference_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["acme/other"] = {"config.json": b"{}"}
    with pytest.raises(LearnError, match=r"acme/other on the hub holds no good\.reference"):
        Reference.from_pretrained("acme/other")
    with pytest.raises(LearnError, match=r"There is no file acme/none\. Cannot fetch 'acme/none'"):
        Reference.from_pretrained("acme/none")
    asked = len(hub.requests)
    for path in ("runs/line3.reference", "line3", "a/b/c", tmp_path / "x"):
        with pytest.raises(LearnError, match="There is no reference"):
            Reference.from_pretrained(path)
    assert len(hub.requests) == asked


def test_a_reference_changed_on_the_hub_is_refused(hub: Hub, tmp_path: Path) -> None:
    push_reference(write_reference(tmp_path / "a.reference"), NAME)
    other = write_reference(tmp_path / "b.reference", brightness=150)
    hub.repositories[NAME]["good.reference"] = other.to_bytes()
    with pytest.raises(LearnError, match="is not the file that was pushed"):
        Reference.from_pretrained(NAME)

"""MMAD's multiple-choice questions, in their published layout.

    mmad.json                            image path → its questions and templates
    DATASET/PRODUCT/SPLIT/CLASS/FILE     the images, beside it

An image's entry has "conversation", a list of objects with "Question", "Options" (letter → text),
"Answer" (a letter) and "type"; and "random_templates" and "similar_templates", paths of good parts.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..errors import DatasetError

# In the order of the published tables.
DETECTION = "Anomaly Detection"
SUB_TASKS = (
    DETECTION,
    "Defect Classification",
    "Defect Localization",
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
)
# Types of questions that are scored as another, and data sets likewise.
_SCORED_AS = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
_SAME_SET = {"DS-MVTec": "MVTec-AD"}
LETTERS = "ABCDE"

Templates = Literal["random", "similar"]


@dataclass(frozen=True)
class ChoiceQuestion:
    """A multiple-choice question.

    Attributes:
        sub_task: one of `SUB_TASKS`.
        text: of the question.
        options: letter → text, from "A" on.
        answer: the letter of the right option.
    """

    sub_task: str
    text: str
    options: Mapping[str, str]
    answer: str


@dataclass(frozen=True)
class MMADImage:
    """An image with its questions.

    Attributes:
        key: its path in mmad.json.
        image: absolute path.
        templates: absolute paths of photos of good parts, one per shot.
        questions: about it, at least one.
    """

    key: str
    image: Path
    templates: tuple[Path, ...]
    questions: tuple[ChoiceQuestion, ...]

    @property
    def dataset(self) -> str:
        """The data set that the image counts for."""
        return dataset_of(self.key)


@dataclass(frozen=True)
class MMADQuestions:
    """The questions of mmad.json, with as many templates per image as there are shots.

    Attributes:
        root: folder of mmad.json.
        sha256: of mmad.json.
        shots: photos of good parts put before the image.
        templates: which ones; None if there are no shots.
        images: in the order of mmad.json, of the data sets that are there.
        absent: folders of data sets of which no image is there.
    """

    root: Path
    sha256: str
    shots: int
    templates: Templates | None
    images: tuple[MMADImage, ...]
    absent: tuple[str, ...] = ()

    def limited(self, count: int) -> "MMADQuestions":
        """Return at most `count` images per product and class, evenly spaced in their order."""
        groups: dict[str, list[MMADImage]] = {}
        for image in self.images:
            groups.setdefault(str(PurePosixPath(image.key).parent), []).append(image)
        chosen = set()
        for group in groups.values():
            kept = min(count, len(group))
            chosen |= {group[index * len(group) // kept].key for index in range(kept)}
        return replace(self, images=tuple(i for i in self.images if i.key in chosen))


def dataset_of(key: str) -> str:
    """Return the data set that an image counts for; DS-MVTec's are images of MVTec-AD."""
    folder = key.partition("/")[0]
    return _SAME_SET.get(folder, folder)


def shows_good_part(key: str) -> bool:
    """Return whether an image shows a good part, which a folder of its path says."""
    return "good" in PurePosixPath(key).parts[:-1]


def read_mmad(
    spec: str | Path,
    shots: int = 1,
    templates: Templates = "random",
    data_root: Path | None = None,
) -> MMADQuestions:
    """Read MMAD's questions.

    Args:
        spec: folder of mmad.json, the file itself, or the folder's name below `data_root`.
        shots: 0 or more photos of good parts per image.
        templates: which of the entry's two lists they are the first of.
        data_root: folder of the known data sets; None for the environment variable FLAWSIGHT_DATA.

    Raises:
        DatasetError: if there is no mmad.json, it is damaged, lacks templates, or none of its
            images is there.
    """
    path = _find(Path(spec).expanduser(), data_root)
    try:
        content = path.read_bytes()
        entries = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"Cannot read {path}: {error}. Download it again.") from error
    if not isinstance(entries, dict):
        raise DatasetError(f"{path} is no object with an entry per image; download it again.")
    images = []
    for key, entry in entries.items():
        try:
            image = _read_image(path.parent, key, entry, shots, templates)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path}, entry {key!r}: {reason}. Download it again.") from error
        if image.questions:
            images.append(image)
    if not images:
        raise DatasetError(f"{path} holds no questions; download it again.")
    folders = dict.fromkeys(image.key.partition("/")[0] for image in images)
    there = {i.key.partition("/")[0] for i in images if i.image.is_file()}
    if not there:
        raise DatasetError(
            f"None of the images of {path} is in {path.parent}: {images[0].image}, for one, does "
            "not exist. Unpack the data sets beside mmad.json."
        )
    return MMADQuestions(
        path.parent,
        hashlib.sha256(content).hexdigest(),
        shots,
        templates if shots else None,
        tuple(image for image in images if image.key.partition("/")[0] in there),
        tuple(folder for folder in folders if folder not in there),
    )


def _find(path: Path, data_root: Path | None) -> Path:
    if data_root is None and (variable := os.environ.get("FLAWSIGHT_DATA")):
        data_root = Path(variable).expanduser()
    places = [path, *([] if data_root is None else [data_root / path])]
    for place in map(Path.absolute, places):
        if place.is_file():
            return place
        if (place / "mmad.json").is_file():
            return place / "mmad.json"
    raise DatasetError(
        f"There is no mmad.json at {' or '.join(map(str, places))}. Download MMAD from "
        "https://huggingface.co/datasets/jiang-cc/MMAD and give the folder of its mmad.json."
    )


def _read_image(root: Path, key: str, entry: Any, shots: int, templates: str) -> MMADImage:
    # The published reader takes the first field whose name begins so.
    field = next((name for name in entry if name.startswith("conversation")), None)
    questions = tuple(_read_question(one) for one in (entry[field] if field else ()))
    names = entry[f"{templates}_templates"][:shots] if shots else []
    if len(names) < shots:
        raise ValueError(f"it has {len(names)} {templates}_templates, not {shots}")
    good = tuple(_inside(root, name) for name in names)
    return MMADImage(key, _inside(root, key), good, questions)


def _read_question(values: Any) -> ChoiceQuestion:
    texts = list(values["Options"].values())
    if not 2 <= len(texts) <= len(LETTERS):
        raise ValueError(f"a question has {len(texts)} options, not 2 to {len(LETTERS)}")
    if not all(isinstance(text, str) for text in (values["Question"], *texts)):
        raise ValueError("a question or an option is no text")
    names = list(values["Options"])
    if values["Answer"] not in names:
        raise ValueError(f"the answer {values['Answer']!r} is none of the options {names}")
    kind = _SCORED_AS.get(values["type"], values["type"])
    if kind not in SUB_TASKS:
        raise ValueError(f"the question type {kind!r} is none of {', '.join(SUB_TASKS)}")
    # Letters go by position, as in the published evaluation.
    options = dict(zip(LETTERS, texts, strict=False))
    return ChoiceQuestion(kind, values["Question"], options, LETTERS[names.index(values["Answer"])])


def _inside(root: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"the path {name!r} leads out of the folder")
    return root / parts

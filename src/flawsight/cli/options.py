"""Options that several verbs share."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..calibration import Calibration
from ..errors import HubError, SettingsError
from ..settings import Settings, parse_override, preset

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..reference.memory import Reference as LearnedReference

Model = Annotated[
    str | None,
    typer.Option(help="Folder or hub name of a model. Default: the bundled model."),
]
Adapter = Annotated[
    str | None, typer.Option(help="Folder or hub name of a LoRA adapter. Default: none.")
]
Preset = Annotated[str, typer.Option(help="Preset of the settings: paper or default.")]


def _after_the_file(ctx: typer.Context, given: list[str] | None) -> list[str]:
    """Return the overrides of --config FILE, and then those of the command line."""
    return [*(ctx.default_map or {}).get("set_", []), *(given or [])]


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Inspection setting to override; repeatable.",
        callback=_after_the_file,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the summary as JSON; all else to the standard error.")
]
BitDepth = Annotated[
    int | None,
    typer.Option(
        help="Bits of full scale of photos wider than 8 bits, like 12. Default: those of their "
        "pixel type.",
        min=1,
        max=32,
    ),
]
Roi = Annotated[
    str | None,
    typer.Option(
        metavar="BOX|FILE",
        help="Region of interest, outside of which nothing is inspected: LEFT,TOP,WIDTH,HEIGHT in "
        "pixels or in percent, like 10%,5%,80%,90%, or a mask image, white inside. Default: whole "
        "photos.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Number of images per batch.")]
Device = Annotated[
    str | None, typer.Option(help="Device: cpu, cuda or mps. Default: the best available.")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Data type of the weights: float32, bfloat16 or float16. Default: float32 on a CPU, "
        "else bfloat16."
    ),
]
Attention = Annotated[
    str, typer.Option(help="Attention implementation: sdpa or flash_attention_2.")
]
Seed = Annotated[int, typer.Option(help="Seed of sampling, if the temperature is above 0.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Score in [0, 1] above which a part is defective. Default: 0.5, or the model's answer "
        "with --preset paper."
    ),
]
NewThreshold = Annotated[
    float | None,
    typer.Option(
        help="Score above which a part is defective, instead of the run's verdicts; needs no model."
    ),
]
Prior = Annotated[
    Path | None,
    typer.Option(
        help="Attention prior of flawsight prior. Default: attention_prior.npz of the model."
    ),
]
PromptPhotos = Annotated[
    list[Path] | None,
    typer.Option(
        "--prompt-photo",
        metavar="FILE",
        help="Photo of a good part to show the model before each photo; repeatable. Default: none.",
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        help="Reference of flawsight learn, of good parts of this product, as a file or by its hub "
        "name: it gives score, map and threshold. Default: none."
    ),
]
PushToHub = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/NAME",
        help="Repository of the Hugging Face hub to upload the result to, once it is written. It "
        "is made, and private, if there is none. Default: none.",
    ),
]
MaxBatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Number of images per batch. Default: what fits into memory."),
]
FalseAlarmRate = Annotated[
    float | None,
    typer.Option(
        help="With a reference, share of good parts that its threshold may call defective, "
        "like 0.1. Default: the lowest that its number of photos can promise."
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(help="Calibration file, whose threshold applies unless --threshold is given."),
]
Category = Annotated[
    str | None,
    typer.Option(help="Category whose threshold to take from the calibration. Default: all."),
]


class ExplainWhich(StrEnum):
    """Which images the model is asked about."""

    ALWAYS = "always"
    DEFECTIVE = "defective"
    NEVER = "never"


Explain = Annotated[
    ExplainWhich | None,
    typer.Option(
        help="With a reference, images that the model puts into words: always, those called "
        "defective, or never. Default: always."
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of the known data sets. Default: $FLAWSIGHT_DATA.")
]


def with_bit_depth(overrides: list[str] | None, bit_depth: int | None) -> list[str]:
    """Return NAME=VALUE overrides with --bit-depth, which comes last."""
    return [*(overrides or []), *([] if bit_depth is None else [f"bit_depth={bit_depth}"])]


def parse_settings(
    preset_name: str,
    overrides: list[str] | None,
    seed: int = 0,
    bit_depth: int | None = None,
    explain: str | None = None,
    roi: str | None = None,
) -> Settings:
    """Return the settings of a preset with NAME=VALUE overrides and the options of their names.

    Raises:
        ImageError: if the mask of --roi cannot be read.
        SettingsError: for an unknown preset or name, or a value that it cannot take.
    """
    values = preset(preset_name).to_json() | {"seed": seed}
    values |= dict(map(parse_override, with_bit_depth(overrides, bit_depth)))
    values |= {} if explain is None else {"explain": explain}
    return Settings.from_json(values | ({} if roi is None else {"roi": roi_setting(roi)}))


def roi_setting(given: str | None) -> str | None:
    """Return the setting of --roi.

    Raises:
        ImageError, SettingsError: as `read_roi`.
    """
    if given is None:
        return None
    from ..io.photo_roi import read_roi

    return read_roi(given)


def load_reference(path: Path | None) -> "LearnedReference | None":
    """Return the reference of a file or of a hub name; None without one.

    Raises:
        LearnError: if it cannot be read or fetched.
    """
    if path is None:
        return None
    from ..reference.memory import Reference

    return Reference.from_pretrained(path)


def check_push(name: str | None) -> None:
    """Make sure, before any work, that --push-to-hub can be done.

    Raises:
        HubError: if the name is none, the hub cannot be reached, or refuses the user's token.
    """
    if name is not None:
        from ..io.hub import check_push

        check_push(name)


@contextmanager
def keeping(path: Path, again: str) -> Iterator[None]:
    """Add to an error of --push-to-hub what is written all the same, and how to upload it.

    Raises:
        HubError: in its place.
    """
    try:
        yield
    except HubError as error:
        raise HubError(f"{error} {path} is written and complete; to upload it, {again}") from error


def read_photos(
    paths: list[Path] | None, bit_depth: int | None, roi: str | None = None
) -> "tuple[Image, ...]":
    """Return the photos of --prompt-photo as RGB images, cut to the region of interest.

    Raises:
        ImageError: if one cannot be read, shows one flat colour, or does not fit the region.
    """
    if not paths:
        return ()
    from ..io.images import Photo
    from ..io.photo_roi import cut_photo
    from ..mllm.prompt_photos import read_prompt_photos

    photos = read_prompt_photos(paths, bit_depth)
    return tuple(cut_photo(Photo(photo), roi)[0].image for photo in photos)


def load_calibration(path: Path | None, category: str | None = None) -> Calibration | None:
    """Return the calibration of a file; None without one.

    Raises:
        CalibrationError: if it cannot be read.
        SettingsError: if a category is given without it.
    """
    if path is None:
        if category is not None:
            raise SettingsError("--category chooses a threshold of --calibration FILE; give both.")
        return None
    return Calibration.load(path)

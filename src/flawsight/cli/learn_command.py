"""`flawsight learn`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ..errors import ImageError, LearnError
from ..io.files import short_names
from . import options
from .shell import console, explained, names_of, print_json, progress_bar, say, say_left_out, warn

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..reference.memory import Reference

_SHOWN = 5


def learn(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photos of good parts of one product, as files, globs or folders; also a "
            ".reference, whose photos are taken again."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; a page about it gets the same name with .html. Default: "
            "good.reference, or that of --add-to."
        ),
    ] = None,
    add_to: Annotated[
        Path | None, typer.Option(help="Reference to which to add the photos.")
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Photo of the reference to leave out; repeatable."),
    ] = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    preset: options.Preset = "default",
    set_: options.Overrides = None,
    bit_depth: options.BitDepth = None,
    roi: options.Roi = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: options.Attention = "sdpa",
    push_to_hub: options.PushToHub = None,
    json_: options.Json = False,
) -> None:
    """Learn from photos of good parts what the product looks like.

    Examples:

        flawsight learn photos/good --out line3.reference

        flawsight inspect photos/new --reference line3.reference

        flawsight learn photos/more --add-to line3.reference --forget 007.png

        flawsight learn line3.reference --model my-model --out line3-my-model.reference

        flawsight learn photos/good --out line3.reference --push-to-hub acme/line3

    16 photos are a good start. They also give the threshold, and thereby a rate of false alarms.
    Exit code 1: photos that could not be read were left out.
    """
    with explained(json_):
        from ..io.files import check_writable
        from ..io.find_images import search_images
        from ..reference.stored import SUFFIX

        known_files = [path for path in photos or [] if path.endswith(SUFFIX)]
        given = [path for path in photos or [] if not path.endswith(SUFFIX)]
        known = _known([*([str(add_to)] if add_to else []), *known_files])
        if known is None and not given:
            raise LearnError("Name photos of good parts, as files, globs or folders.")
        out = out or add_to or Path(f"good{SUFFIX}")
        check_writable(out)
        options.check_push(push_to_hub)
        images: tuple[Path, ...] = ()
        if given:
            found = search_images(given)
            images = found.images
            say_left_out(found.left_out)
        settings = options.parse_settings(preset, set_, bit_depth=bit_depth, roi=roi)
        with console.status("Loading the model …"):
            from ..mllm.load import load_mllm
            from ..reference.learn import learn

            load: dict[str, Any] = {"device": device, "dtype": dtype, "attention": attention}
            mllm = load_mllm(model, adapter=adapter, **load)
        reader = _Reader(images, settings.bit_depth)
        forgotten = forget or []
        total = len(images) + (len(known.photos) - len(forgotten) if known else 0)
        with progress_bar("Learning", total) as move:
            reference = learn(
                mllm,
                reader.photos(),
                settings,
                known,
                forgotten,
                on_photo=lambda name: move(advance=1),
                on_left_out=lambda name, error: reader.problems.append(str(error)),
            )
        reference.save(out)
        warn(reader.problems)
        summary = _sum_up(reference, out, reader.sizes)
        if push_to_hub is not None:
            from ..reference.push_reference import push_reference

            again = f"learn its photos again: flawsight learn {out} --out {out} --push-to-hub "
            again += f"{push_to_hub}, with the same model and settings."
            with options.keeping(out, again), console.status("Uploading …"):
                summary["hub"] = push_reference(reference, push_to_hub)
            say(f"Uploaded: {escape(summary['hub'])}")
        if json_:
            print_json(summary | {"failed": reader.failed, "problems": reader.problems})
    raise typer.Exit(1 if reader.failed else 0)


class _Reader:
    """Reads photos one at a time; those that cannot be read are left out.

    Args:
        images: absolute paths.
        bit_depth: see `Settings`.
    """

    def __init__(self, images: Sequence[Path], bit_depth: int | None) -> None:
        self.failed = 0
        self.problems: list[str] = []
        self.sizes: dict[str, tuple[int, int]] = {}
        self._names = dict(zip(images, short_names(images), strict=True))
        self._bit_depth = bit_depth

    def photos(self) -> "Iterator[tuple[str, Image]]":
        """Yield names and RGB images.

        Raises:
            LearnError: after the last, if there were photos and none could be read.
        """
        from ..io.images import read_photo

        for path, name in self._names.items():
            try:
                photo = read_photo(path, self._bit_depth)
            except ImageError as error:
                self.failed += 1
                self.problems.append(f"{error} It is left out.")
                continue
            self.problems += [f"{name}: {warning}" for warning in photo.warnings]
            self.sizes[name] = photo.image.size
            yield name, photo.image
        if self._names and self.failed == len(self._names):
            raise LearnError(f"None of the photos can be read. {self.problems[0]}")


def _known(files: Sequence[str]) -> "Reference | None":
    if len(files) > 1:
        raise LearnError(f"Give one reference; these are {len(files)}: {names_of(files)}.")
    if not files:
        return None
    from ..reference.memory import Reference

    return Reference.load(files[0])


def _sum_up(reference: "Reference", out: Path, sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Print what the photos promise, their own scores, and what is wrong; return it."""
    from ..reference.advice import concerns, odd_photos
    from ..report.reference_page import write_reference_page

    odd = odd_photos(reference)
    count = len(reference.photos)
    photos = "1 photo" if count == 1 else f"{count} photos"
    say(f"Learned {photos}: {escape(str(out))} ({out.stat().st_size / 1e6:.1f} MB)")
    if reference.scores:
        say(_promise(reference))
        ranked = sorted(
            zip(reference.scores, (photo.name for photo in reference.photos), strict=True),
            reverse=True,
        )
        say("Score of each photo against the others; look at the highest, which must be good, too:")
        for score, name in ranked[:_SHOWN]:
            note = "  [yellow]unlike the others[/]" if name in odd else ""
            say(f"  {score:.3f}  {escape(name)}{note}")
        if rest := ranked[_SHOWN:]:
            say(f"  … {len(rest)} more, down to {rest[-1][0]:.3f}")
    found = list(concerns(reference, sizes))
    warn(found)
    page = out.with_name(f"{out.name}.html")
    write_reference_page(reference, page, odd)
    say(f"Page: {escape(str(page))}")
    promised = bool(reference.scores)
    names = [photo.name for photo in reference.photos]
    return {
        "reference": out,
        "page": page,
        "photos": len(names),
        "threshold": reference.threshold() if promised else None,
        "false_alarm_rate": reference.lowest_rate if promised else None,
        "scores": dict(zip(names, reference.scores, strict=False)),
        "unlike_the_others": list(odd),
        "notes": found,
    }


def _promise(reference: "Reference") -> str:
    """Return the threshold and the rate of false alarms that it promises."""
    from ..reference.memory import RATE

    rate, count = reference.lowest_rate, len(reference.photos)
    text = (
        f"Threshold {reference.threshold():.3f}: at most {rate:.1%} of good parts like these, "
        f"1 in {round(1 / rate)}, are called defective."
    )
    if rate > RATE:
        text += (
            f" {count} photos cannot promise less; {round(1 / RATE) - 1} would promise {RATE:.0%}."
        )
    return text

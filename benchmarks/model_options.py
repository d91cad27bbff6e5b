"""What each way to run the model gives and costs: time, memory, and the change of both AUROCs.

    python benchmarks/model_options.py [--images 140] [--rounds 3] [--smoke]

All sides inspect the same rendered surfaces of unseen families, in turns. The AUROC of the image
score and of the pixels is set beside float32's, the default. What fails is reported as it is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measure import Cell, arguments_of, interleaved, labelled, ratios, report
from PIL import Image

from flawsight.inspection import Inspection
from flawsight.inspector import Inspector
from flawsight.metrics.pixel_counts import PixelCounter
from flawsight.metrics.ranking import auroc
from flawsight.mllm.load import load_mllm


def plain() -> Inspector:
    """The default."""
    return Inspector.from_pretrained()


def halved() -> Inspector:
    """Weights and activations in bfloat16."""
    return Inspector.from_pretrained(dtype="bfloat16")


def static() -> Inspector:
    """A cache of its final size from the start."""
    inspector = Inspector.from_pretrained()
    inspector.mllm.model.generation_config.cache_implementation = "static"
    return inspector


def compiled() -> Inspector:
    """The language model's layers compiled, on a static cache, whose shapes stay the same."""
    inspector = static()
    for layer in inspector.mllm.model.model.language_model.layers:
        layer.mlp.compile()
    return inspector


def eight_bits() -> Inspector:
    """Weights of the language model's products in 8 bits, activations by their range."""
    from torch.ao.quantization import quantize_dynamic

    mllm = load_mllm()
    language = mllm.model.model.language_model
    mllm.model.model.language_model = quantize_dynamic(  # type: ignore[no-untyped-call]
        language, {torch.nn.Linear}
    )
    return Inspector(mllm, batch_size=None)


OPTIONS: dict[str, Callable[[], Inspector]] = {
    "float32 (default)": plain,
    "bfloat16": halved,
    "static cache": static,
    "static cache, torch.compile of the MLPs": compiled,
    "int8 products, `quantize_dynamic`": eight_bits,
}


def inspected(inspector: Inspector, photos: list[Image.Image]) -> list[Inspection | None]:
    """Inspect all photos; None stands for one that got no answer."""
    size = inspector.batch_size
    return [
        outcome if isinstance(outcome, Inspection) else None
        for start in range(0, len(photos), size)
        for outcome in inspector.inspect_batch(photos[start : start + size])
    ]


def figures(inspections: list[Inspection | None], masks: list[Any]) -> tuple[float, float]:
    """Return the image and the pixel AUROC of what was answered, in %."""
    images, pixels = PixelCounter(), PixelCounter()
    for inspection, mask in zip(inspections, masks, strict=True):
        if inspection is None:
            continue
        defective = np.array([[bool(mask.any())]])
        images.update(np.array([[inspection.pred_score]], np.float32), defective)
        pixels.update(inspection.anomaly_map, mask)
    return 100 * float(auroc(images.counts())), 100 * float(auroc(pixels.counts()))


def main() -> None:
    """Run the benchmark."""
    arguments = arguments_of(__doc__, images=(140, 2, "inspected"), rounds=(3, 1, "of all options"))
    pairs = labelled(arguments.images, seed=3004)
    photos, masks = [Image.fromarray(image) for image, _ in pairs], [mask for _, mask in pairs]
    sides: dict[str, Callable[[], object]] = {}
    found: dict[str, list[Inspection | None]] = {}
    failed: dict[str, str] = {}
    for name, make in OPTIONS.items():
        if arguments.smoke and make is compiled:
            continue  # a compiler's minute is no smoke
        try:
            inspector = make()
            inspector(photos[:2])
        except Exception as error:  # whatever a back end raises is the finding
            failed[name] = f"fails: {type(error).__name__}"
            continue
        sides[name] = lambda name=name, inspector=inspector: found.update(  # type: ignore[misc]
            {name: inspected(inspector, photos)}
        )
    costs = interleaved(sides, arguments.rounds)
    base = next(iter(OPTIONS))
    before = figures(found[base], masks)
    rows: list[list[Cell]] = []
    for name, cost in costs.items():
        now = figures(found[name], masks)
        same = sum(
            a is not None and b is not None and a.explanation == b.explanation
            for a, b in zip(found[name], found[base], strict=True)
        )
        rows.append(
            [
                name, cost.seconds / arguments.images * 1e3, *ratios(cost, costs[base]),
                f"{now[0]:.1f} ({now[0] - before[0]:+.2f})",
                f"{now[1]:.1f} ({now[1] - before[1]:+.2f})",
                str(sum(one is not None for one in found[name])),
                f"{same} of {len(photos)}",
            ]
        )  # fmt: skip
    rows += [[name, text, *["–"] * 7] for name, text in failed.items()]
    report(
        arguments.out,
        "options",
        ["option", "ms an image", "× default, clock", "× default, processor",
         "× default, peak memory", "image AUROC", "pixel AUROC", "answered",
         "same words"],
        rows,
        f"{len(photos)} surfaces, medians of {arguments.rounds} rounds; all models lie in one "
        "process, so the peak tells of activations, not of weights. Bundled model.",
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""ReAL's open choices on the validation families: docs/results.md, section "Choices".

    python benchmarks/sweep.py [--model M] [--write]

One response an image, many settings. What is chosen here is reported on other families, by
detection.py.
"""

import argparse
from dataclasses import replace
from typing import Any

from detection import pixel_scores, tally
from results import write_section

from flawsight.data.surfaces import VALIDATION_FAMILIES
from flawsight.mllm.capture import decoder_layers
from flawsight.mllm.load import load_mllm
from flawsight.settings import PRESETS, Settings
from samples import rendered


def variants() -> dict[str, Settings]:
    """Return the settings compared, one change from the preset `paper` at a time."""
    changes: list[dict[str, Any]] = [
        {},
        {"selection": "vanilla"},
        {"selection": "vanilla", "words_only": True},
        {"selection": "vanilla", "scale_by_score": True},
        {"selection": "vanilla", "scale_by_score": True, "row": "predicting"},
        {"scale_by_score": True},
        {"words_only": True},
        {"words_only": True, "scale_by_score": True},
        {"row": "predicting"},
        {"row": "predicting", "words_only": True, "scale_by_score": True},
        {"semantic_normalization": "max"},
        {"concentration_normalization": "linear"},
        {"none_kept": "mean"},
        {"alpha": 0.0},
        {"beta": 0.0},
    ]
    changes += [{"tau_t": t, "tau_i": i} for t in (0.1, 0.25, 0.4) for i in (0.1, 0.25, 0.5)]
    by_focus_alone = {"tau_t": 0.0, "alpha": 0.0, "words_only": True, "scale_by_score": True}
    changes += [{**by_focus_alone, "tau_i": i} for i in (0.0, 0.5, 0.8, 0.95)]
    return named(changes)


def named(changes: list[dict[str, Any]]) -> dict[str, Settings]:
    """Return the settings that differ from `paper` by each change, under a name that says so."""
    return {
        ", ".join(f"{k}={v}" for k, v in change.items()) or "`paper`": replace(
            PRESETS["paper"], **change
        )
        for change in changes
    }


def main() -> None:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder; default: the bundled model")
    parser.add_argument("--pairs", type=int, default=40, help="rendered pairs a family")
    parser.add_argument("--write", action="store_true", help="put the table in docs/results.md")
    arguments = parser.parse_args()
    mllm = load_mllm(arguments.model)

    def measure(settings: dict[str, Settings]) -> dict[str, tuple[float, float]]:
        images = rendered(VALIDATION_FAMILIES, arguments.pairs, seed=2001)
        histograms = tally(mllm, images, settings).pixels
        return {name: pixel_scores(histogram) for name, histogram in histograms.items()}

    found = measure(variants())
    # Layers are averaged while the model runs, so each choice of them is a run of its own.
    for layer in range(len(decoder_layers(mllm.model))):
        changes: list[dict[str, Any]] = [
            {},
            {"selection": "vanilla"},
            {"selection": "vanilla", "words_only": True, "scale_by_score": True},
        ]
        found |= measure(named([{"layers": (layer,), **change} for change in changes]))
    lines = ["| change from `paper` | pixel AUROC | pixel AP |", "|---|---|---|"]
    lines += [f"| {name} | {auroc:.3f} | {ap:.3f} |" for name, (auroc, ap) in found.items()]
    text = "\n".join([*lines, "", f"Weights {mllm.sha256[:12]}."])
    print(text)
    if arguments.write:
        write_section("choices", text)


if __name__ == "__main__":
    main()

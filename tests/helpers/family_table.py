"""The table of docs/real-models.md: what the tests of each family of models found."""

import re
from collections.abc import Mapping

from pages import DOCS, markdown, replaced

PAGE = DOCS / "real-models.md"
CAPABILITIES = ("loads", "asked", "traced", "trained")
COLUMNS = ["family", "class in transformers", *CAPABILITIES, "notes"]
# By model type: the family's name, and what a user should know of it.
FAMILIES = {
    "qwen2_vl": ("Qwen2-VL", ""),
    "qwen2_5_vl": ("Qwen2.5-VL", "7B: 17 GB of weights; GPU of 24 GB to inspect, 40 GB to train"),
    "qwen3_vl": ("Qwen3-VL", "8B: 18 GB of weights; GPU of 24 GB to inspect, 48 GB to train"),
    "qwen3_vl_moe": ("Qwen3-VL, experts", ""),
    "qwen3_5": ("Qwen3.5", ""),
    "qwen3_5_moe": ("Qwen3.5, experts", ""),
    "glm4v": ("GLM-4.1V", ""),
    "glm4v_moe": ("GLM-4.5V", ""),
    "glm46v": ("GLM-4.6V", ""),
    "gemma3": ("Gemma 3", "images squeezed to a square"),
    "gemma4": ("Gemma 4", "not supported, not even by `vlm:MODEL`"),
    "idefics3": ("Idefics3", "tiles"),
    "smolvlm": ("SmolVLM", "tiles"),
    "internvl": ("InternVL 2.5, 3, 3.5", "tiles; names ending in -hf"),
    "llava_onevision": ("LLaVA-OneVision", "tiles, chosen by the checkpoint; names ending in -hf"),
}


def with_rows(page: str, found: Mapping[str, tuple[str, set[str]]]) -> str:
    """Return the page with new rows for some families; those of others stay.

    Args:
        page: Markdown that holds the section "families".
        found: by model type, the class of its models and their capabilities.
    """
    before = {line.split(" | ")[0][2:]: line for line in re.findall(r"^\| .*\|$", page, re.M)}
    lines = markdown(COLUMNS, []).splitlines()
    for model_type, (name, note) in FAMILIES.items():
        if model_type in found:
            model_class, capable = found[model_type]
            cells = ("yes" if one in capable else "no" for one in CAPABILITIES)
            lines += markdown([name, f"`{model_class}`", *cells, note], []).splitlines()[:1]
        elif name in before:
            lines.append(before[name])
    return replaced(page, "families", "\n".join(lines))

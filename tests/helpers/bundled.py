"""The bundled model with few image tokens, for tests whose point is not how well it sees.

Its time goes by the image tokens, those of crops included: preset `default` has about 810 an image,
and `FEW` has 130.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from flawsight.mllm.load import DEFAULT_MODEL
from flawsight.settings import PRESETS

FEW_TOKENS = 36
FEW = replace(PRESETS["default"], image_tokens=FEW_TOKENS)
FEW_PAPER = replace(PRESETS["paper"], image_grid=(6, 6), image_tokens=FEW_TOKENS)
# On the command line, `FEW`.
FEW_OPTIONS = ("--set", f"image_tokens={FEW_TOKENS}")


def copy_of_few_tokens(folder: Path) -> Path:
    """Write the bundled model into a new folder, prescribing that few tokens itself."""
    shutil.copytree(DEFAULT_MODEL, folder)
    path = folder / "processor_config.json"
    config = json.loads(path.read_text())
    processor = config["image_processor"]
    area = FEW_TOKENS * (processor["patch_size"] * processor["merge_size"]) ** 2
    processor["size"] = {"shortest_edge": area, "longest_edge": area}
    path.write_text(json.dumps(config))
    return folder

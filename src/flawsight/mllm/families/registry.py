"""The families whose attention flawsight reads."""

from ...errors import ModelError
from .family import Family
from .gemma3 import Gemma3
from .glm4v import GLM4V
from .idefics3 import Idefics3
from .internvl import InternVL
from .llava_onevision import LlavaOnevision
from .qwen_vl import QwenVL

FAMILIES: tuple[Family, ...] = (
    QwenVL(),
    GLM4V(),
    Gemma3(),
    Idefics3(),
    InternVL(),
    LlavaOnevision(),
)


def family_of(model_type: str | None) -> Family:
    """Return the family of a model type, as config.json names it.

    Raises:
        ModelError: if there is none.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    names = ", ".join(family.name for family in FAMILIES)
    raise ModelError(
        f"flawsight cannot read the attention of {model_type!r} models. It reads that of {names}. "
        "Other chat VLMs can be asked without a map: `flawsight bench --detector vlm:MODEL`."
    )

"""A trained adapter → the Hugging Face hub."""

from pathlib import Path

from ..errors import HubError
from ..io.hub import push_files
from ..mllm.model_folder import adapter_files

_CARD = "README.md"


def push_adapter(folder: Path, name: str) -> str:
    """Upload an adapter with its model card.

    Args:
        folder: best/ or last/ of a training.
        name: OWNER/NAME of the repository; it is made, and private, if there is none.

    Returns:
        The repository's URL.

    Raises:
        HubError: if the folder holds no adapter, or the hub cannot be reached or refuses it. The
            folder stays as it is.
    """
    files = {path.name: path for path in adapter_files(folder)}
    try:
        card = (folder / _CARD).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise HubError(f"{folder} holds no adapter of flawsight train: {error}.") from error
    return push_files(name, files, card)

"""Repositories of the Hugging Face hub: files go there with their hashes, and come back checked."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import HubError

# As `sha256sum` writes and checks it.
SUMS = "SHA256SUMS"
_NO_ACCESS = (401, 403)
_LOG_IN = "log in with a token that may (hf auth login, or HF_TOKEN)"


def is_hub_name(name: str | Path) -> bool:
    """Whether a name may be OWNER/NAME on the hub: it may still be a relative path."""
    text = name.as_posix() if isinstance(name, Path) else name
    return text.count("/") == 1 and not text.startswith(("/", ".", "~")) and text[-1] != "/"


def check_push(name: str) -> None:
    """Make sure, before hours of work, that there is a hub and that it knows the user.

    Args:
        name: OWNER/NAME of the repository.

    Raises:
        HubError: if the name is none, the hub cannot be reached, or refuses the user's token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        if not is_hub_name(name):
            raise ValueError("there must be one slash in it")
        validate_repo_id(name)
    except ValueError as error:
        raise HubError(
            f"{name!r} is no OWNER/NAME on the hub, like acme/line3: {error}."
        ) from error
    try:
        HfApi().whoami()
    except Exception as error:  # network, authentication: all end here
        raise HubError(f"Cannot push to {name!r}: {_why(error)}.") from error


def push_files(name: str, files: Mapping[str, Path | bytes], card: str) -> str:
    """Upload files with their hashes and a model card, in one commit.

    A repository that does not exist is made private; one that does keeps its visibility.

    Args:
        name: OWNER/NAME of the repository.
        files: their contents, or where they are, by their names there.
        card: README.md with the hub's front matter; the hashes are added to it.

    Returns:
        The repository's URL.

    Raises:
        HubError: if the hub cannot be reached or refuses them.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    lines = "".join(f"{_sha256(content)}  {file}\n" for file, content in files.items())
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    card += f"\n## SHA-256 of the files\n\n{indented}"
    contents = {**files, SUMS: lines.encode(), "README.md": card.encode()}
    hidden = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        api = HfApi()
        url = api.create_repo(name, private=True, exist_ok=True)
        changes = [CommitOperationAdd(file, content) for file, content in contents.items()]
        api.create_commit(name, changes, commit_message="Upload with flawsight")
    except Exception as error:  # network, authentication, a refusal: all end here
        raise HubError(f"Cannot push to {name!r}: {_why(error)}.") from error
    finally:
        if not hidden:
            enable_progress_bars()
    return str(url)


def fetch_files(name: str, patterns: Sequence[str]) -> Path:
    """Return the folder of a snapshot of a repository, from the cache if the hub is out of reach.

    Args:
        name: OWNER/NAME of the repository.
        patterns: of the names of the files to fetch.

    Raises:
        HubError: if it cannot be fetched, or a file is not the one that was pushed.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*patterns, SUMS]))
    except Exception as error:  # network, authentication, unknown name: all end here
        raise HubError(f"Cannot fetch {name!r} from the hub: {_why(error)}.") from error
    _check_sums(folder, name)
    return folder


def _check_sums(folder: Path, name: str) -> None:
    """Compare the files of a snapshot with the hashes among them; a repository may have none."""
    sums = folder / SUMS
    if not sums.is_file():
        return
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines()
    known = {file: digest for digest, _, file in (line.partition("  ") for line in lines)}
    for path in sorted(folder.iterdir()):
        if path.name in known and _sha256(path) != known[path.name]:
            raise HubError(
                f"{path.name} of {name} is not the file that was pushed: its SHA-256 differs from "
                f"{SUMS}. Delete {folder} and fetch it again, or have it pushed again."
            )


def _sha256(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why(error: BaseException) -> str:
    """Return in one line why the hub gave or took nothing, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # why the cache was asked
    if isinstance(error, OfflineModeIsEnabled):
        return "the network is switched off; unset HF_HUB_OFFLINE"
    if isinstance(error, LocalTokenNotFoundError):
        return f"you are not logged in; {_LOG_IN}"
    if isinstance(error, GatedRepoError):
        return "its owner grants access on request; ask for it on its page"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such repository, or it is private; {_LOG_IN}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _NO_ACCESS:
        return f"the hub refuses it ({status}); {_LOG_IN}"
    return f"{' '.join(str(error).split()).rstrip('.')} ({constants.ENDPOINT})"

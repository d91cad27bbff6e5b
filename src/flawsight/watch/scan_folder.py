"""The images of a folder with what changes when they are written, by asking the file system."""

import os
from collections.abc import Collection
from pathlib import Path

import psutil

from ..errors import WatchError
from ..io.find_images import images_below
from .arrivals import Signature

_REMOTE = {"9p", "afs", "ceph", "cifs", "glusterfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}


def scan(folder: Path, leave_out: Collection[str] = ()) -> dict[str, Signature]:
    """Return the signatures of the images in a folder and below it, by absolute path.

    Args:
        folder: to search; as for `flawsight inspect`, hidden files and run folders are left out.
        leave_out: real paths of folders that are left out, too.

    Raises:
        ImageError: if a folder cannot be read.
    """
    found: dict[str, Signature] = {}
    for path in images_below(folder, leave_out):
        try:
            state = os.stat(path)
        except OSError:  # it has gone in between
            continue
        found[path] = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return found


def check_folders(folder: Path, out: Path, archive: Path | None) -> None:
    """Make sure that a folder can be watched, with its results outside of what is inspected.

    Args:
        folder: to watch.
        out: run folder, which may be below it.
        archive: to which inspected photos are moved, if they are.

    Raises:
        WatchError: saying which of them to choose anew.
    """
    if not folder.is_dir():
        raise WatchError(f"There is no folder {folder} to watch; make it, or give another one.")
    inside = folder.resolve()
    for above in (inside, *inside.parents):
        if (above / "run.json").is_file() or above == out.resolve():
            raise WatchError(
                f"{folder} is a run folder or in one, whose images are never inspected; watch "
                "another folder, or choose another --out."
            )
    if archive is not None and inside.is_relative_to(archive.resolve()):
        raise WatchError(
            f"--move-to {archive} holds the watched folder {folder}; choose one outside or below."
        )
    if archive is not None and archive.exists() and not archive.is_dir():
        raise WatchError(f"--move-to {archive} is a file; give a folder.")


def is_remote(folder: Path) -> bool:
    """Whether a folder is on a network share, of whose changes elsewhere no system tells."""
    path = folder.resolve()
    mounts = [
        (len(part.mountpoint), part.fstype.lower())
        for part in psutil.disk_partitions(all=True)
        if path.is_relative_to(part.mountpoint)
    ]
    kind = max(mounts, default=(0, ""))[1]
    return kind in _REMOTE or kind.startswith("fuse") or str(path).startswith("\\\\")

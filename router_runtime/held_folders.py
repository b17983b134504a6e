"""Temporary folders that tell whether their maker lives: who is killed leaves one, and the next maker removes it.

The maker holds the folder with flock, which the kernel frees with the process; whoever gets the lock of another's
folder knows that nobody needs it any more.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder below ``parent`` for as long as the block lives; dead ones of the same prefix go first.

    Args:
        parent: It must be there.
        prefix: Of the folder's name; eight characters of chance follow.
    """
    sweep_dead(parent, prefix)
    folder, handle = _make(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep_dead(parent: Path, prefix: str) -> None:
    """Removes this user's folders of the prefix whose makers are gone; leaves those of the living."""
    name = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}")
    for path in [entry for entry in parent.iterdir() if name.fullmatch(entry.name)]:
        handle = _locked(path)
        if handle is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = _locked(path)
        if handle is not None:
            return path, handle
        # A sweeper came between the two steps, took it for a dead one's and removes it: make another.


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of this user's folder; None where another holds it, or it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine, there = os.fstat(handle), os.stat(path, follow_symlinks=False)
        if mine.st_uid == os.geteuid() and (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None

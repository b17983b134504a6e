"""A small JSON file that processes of one machine share: read whole, changed in one step, by one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from router_runtime.errors import StoreError


def read_file(path: Path, max_bytes: int) -> bytes | None:
    """At most ``max_bytes`` + 1 bytes of ``path``; None where there is no such file.

    Raises:
        StoreError: Where it is there but cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def rewrite(path: Path, lock: str, change: Callable[[], Any]) -> None:
    """Puts what ``change`` returns, as JSON, in place of ``path``; a new file only its owner may read.

    Args:
        path: The file; its folder is made.
        lock: Name of the file beside it that is locked meanwhile, so that ``change`` may read what stands there.
        change: Gives the new document.

    Raises:
        StoreError: Where the file cannot be written; the former one stands.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(_open_lock(path.parent / lock), "r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            replace(path, json.dumps(change(), indent=1))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def replace(path: Path, text: str) -> None:
    """Puts ``text`` in place of ``path``, whole or not at all; whose file it was, and who may read it, stays so.

    Raises:
        OSError: It cannot be written; the former file stands.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            with suppress(FileNotFoundError):
                os.fchmod(handle, path.lstat().st_mode & 0o777)
            _give(handle, path)
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)  # it is there only where something failed


def _open_lock(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    _give(handle, path)
    return handle


def _give(handle: int, path: Path) -> None:
    """Gives a file that root makes (``sudo pointsman disable``) to the user who reads and writes it, a service's.

    That is the owner of what stands at ``path``, or of the folder where nothing does, or where root made that too.
    """
    if os.geteuid() != 0:
        return
    owner = path.parent.stat()
    with suppress(FileNotFoundError):
        former = path.lstat()
        owner = former if former.st_uid != 0 else owner
    with suppress(PermissionError):  # a root without that right, as in some containers
        os.fchown(handle, owner.st_uid, owner.st_gid)

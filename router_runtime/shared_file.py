"""A small JSON file that processes of one machine share: read whole, changed in one step, by one writer at a time."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable
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
    """Puts what ``change`` returns, as JSON, in place of ``path``; only its owner may read it.

    Args:
        path: The file; its folder is made.
        lock: Name of the file beside it that is locked meanwhile, so that ``change`` may read what stands there.
        change: Gives the new document.

    Raises:
        StoreError: Where the file cannot be written; the former one stands.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / lock).open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            document = change()
            handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
            with os.fdopen(handle, "w") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error

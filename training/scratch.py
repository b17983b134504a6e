"""A folder for what a command needs for a moment: a version's bundle, the copy of a remote log.

Such a copy may hold prompts, so that one which a killed command left behind goes with the next command.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router_runtime.held_folders import held_folder

PREFIX = "pointsman-training-"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that lives as long as the block; those of killed commands go first."""
    with held_folder(Path(tempfile.gettempdir()), PREFIX) as folder:
        yield folder

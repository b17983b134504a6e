"""The few members of sealed events that the dashboard reads, kept by file: a sealed file never changes.

Nearly all the time of a reading goes into the events' JSON; of a sealed file it is read once, and what is kept of it is
a Parquet file of a few columns for each kind of event, in a folder that lasts as long as the process. It holds no
prompts and no features.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from router_runtime.gateway.ui_queries import NARROW

if TYPE_CHECKING:
    import duckdb

_DAYS = 16
"""Days that are kept, of those that have a file: the dashboard looks back fourteen, which touch fifteen."""


class SealedDays:
    """What was read of sealed files; any number of threads may ask, one reads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._home: Path | None = None
        self._kept: dict[Path, tuple[str, dict[str, Path]]] = {}

    def narrowed(self, db: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> list[dict[str, Path]]:
        """For each sealed file what is kept of it, by kind (:data:`ui_queries.NARROW`); read now where it was not yet.

        Args:
            db: Reads and writes them.
            files: The sealed files, ``day=YYYY-MM-DD/NAME.parquet``.

        Raises:
            duckdb.Error: A file cannot be read.
            OSError: The folder for what is kept cannot be written.
        """
        with self._guard:
            found = [self._one(db, path) for path in files if path.exists()]  # else its day has been deleted
            self._forget()
            return found

    def _one(self, db: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Path]:
        told = path.stat()
        mark = f"{told.st_size} {told.st_mtime_ns}"
        kept = self._kept.get(path)
        if kept is not None and kept[0] == mark and all(place.exists() for place in kept[1].values()):
            return kept[1]
        name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
        places = {kind: self._folder() / f"{name}.{kind}.parquet" for kind in NARROW}
        for kind, place in places.items():
            rows = NARROW[kind].format(events=f"read_parquet({quoted(path)}, hive_partitioning = false)")
            part = place.with_suffix(".part")
            db.execute(f"COPY ({rows}) TO {quoted(part)} (FORMAT parquet)")
            os.replace(part, place)
        self._kept[path] = (mark, places)
        return places

    def _folder(self) -> Path:
        if self._home is None or not self._home.exists():  # what cleans /tmp may have taken it
            self._home = Path(tempfile.mkdtemp(prefix="pointsman-ui-"))
            weakref.finalize(self, shutil.rmtree, self._home, ignore_errors=True)
        return self._home

    def _forget(self) -> None:
        """Removes what no longer has its file, and days beyond the newest :data:`_DAYS`."""
        days = sorted({path.parent.name for path in self._kept})[-_DAYS:]
        for path in [path for path in self._kept if path.parent.name not in days or not path.exists()]:
            for place in self._kept.pop(path)[1].values():
                place.unlink(missing_ok=True)


def quoted(path: Path) -> str:
    """``path`` as a text of SQL."""
    return "'" + str(path).replace("'", "''") + "'"

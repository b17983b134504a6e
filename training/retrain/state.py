"""What a run of the weekly job leaves behind, so that a run that was killed is taken up where it stopped.

A folder per run, named by the fingerprint of what it learns from. Each file appears whole and durable or not at all:
a step whose file is there was done.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.errors import PointsmanError, StoreError

KEPT_RUNS = 8
"""Folders of finished runs that are kept; older ones go."""
_RUN = re.compile(r"[0-9a-f]{16}(-[0-9]+)?")


class State:
    """The folder of all runs.

    Args:
        folder: It is made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the lock: one retraining, promotion or rollback at a time. A killed process holds it no longer.

        Raises:
            StoreError: Where another one holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(f"another retraining or promotion is at work (it holds {lock.name})") from error
            self._tidy()
            yield

    def _tidy(self) -> None:
        """Removes files that a killed run had not finished; who holds the lock is the only one that writes here."""
        for folder in (self.folder, *(run.folder for run in self._all())):
            for partial in folder.glob(".*.tmp"):
                partial.unlink(missing_ok=True)

    def _all(self) -> list[Run]:
        """Every run; folders of other names are somebody else's."""
        return [Run(path) for path in self.folder.iterdir() if path.is_dir() and _RUN.fullmatch(path.name)]

    def runs(self, fingerprint: str) -> list[Run]:
        """Those of one fingerprint, first the oldest."""
        names = [fingerprint[:16], *(f"{fingerprint[:16]}-{again}" for again in range(2, 1000))]
        found: list[Run] = []
        for name in names:
            if not (self.folder / name).is_dir():
                break
            found.append(Run(self.folder / name))
        return found

    def start(self, fingerprint: str, nth: int) -> Run:
        """The folder of the nth run (from 1) of a fingerprint."""
        run = Run(self.folder / (fingerprint[:16] if nth == 1 else f"{fingerprint[:16]}-{nth}"))
        run.folder.mkdir(parents=True, exist_ok=True)
        return run

    def sweep(self, keep: Run) -> list[Run]:
        """Removes unfinished runs of other windows, which have gone, and all but the newest finished ones.

        Returns:
            The unfinished ones that it removed.
        """
        others = [run for run in self._all() if run.folder != keep.folder]
        finished = sorted((run for run in others if run.done), key=lambda run: run.folder.stat().st_mtime, reverse=True)
        unfinished = [run for run in others if not run.done]
        for run in [*unfinished, *finished[KEPT_RUNS:]]:
            shutil.rmtree(run.folder, ignore_errors=True)
        return unfinished


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def key(self) -> str:
        """Names the run in MLflow."""
        return self.folder.name

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return (self.folder / "outcome.json").exists()

    def read(self, name: str) -> dict[str, Any] | None:
        """What a step wrote; None where it was not done."""
        return read_json(self.folder / f"{name}.json")

    def write(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """Writes what a step found, whole and durable."""
        write_durably(self.folder / f"{name}.json", json.dumps(document, indent=1, allow_nan=False).encode())
        return document

    def tidy(self) -> None:
        """Removes what only later steps of this run needed."""
        shutil.rmtree(self.folder / "fitted", ignore_errors=True)
        for path in self.folder.glob("*.npy"):
            path.unlink()

    def matrix(self, name: str) -> npt.NDArray[np.float64] | None:
        """An array that a step wrote; None where it was not done."""
        path = self.folder / f"{name}.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None

    def keep_matrix(self, name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Writes an array, whole and durable."""
        partial = self.folder / f".{name}.{os.getpid()}.tmp"
        with partial.open("wb") as file:
            np.save(file, values, allow_pickle=False)
            _settle(file.fileno(), partial, self.folder / f"{name}.npy")
        return values


def read_json(path: Path) -> dict[str, Any] | None:
    """A document, None where there is none.

    Raises:
        PointsmanError: Where the file is not one; it says which.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PointsmanError(f"{path} is damaged; delete it, and the step is done again") from error
    return document


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file so that it appears whole and survives a crash, or does not appear."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        _settle(file.fileno(), partial, path)


def _settle(handle: int, partial: Path, path: Path) -> None:
    os.fsync(handle)
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name must be durable too
    finally:
        os.close(folder)

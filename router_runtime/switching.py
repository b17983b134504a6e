"""Where a disablement goes: into this machine's folder, or to every replica through the shared state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from router_runtime import overrides
from router_runtime.registry import Registry
from router_runtime.state import SharedState, is_shared


class Switch(Protocol):
    """Takes models out and puts them back; raises StoreError where it cannot."""

    @property
    def place(self) -> str:
        """For people; without secrets."""

    def disable(self, model: str, until: float) -> None:
        """Until a time in UTC seconds since the epoch; infinity: until enabled."""

    def enable(self, model: str) -> bool:
        """False where it was not disabled."""

    def disabled(self) -> dict[str, float]:
        """Until when, by model."""


class FolderSwitch:
    """The file of this machine.

    Args:
        folder: The state folder.
        clock: UTC seconds since the epoch.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock

    @property
    def place(self) -> str:
        """See :class:`Switch`."""
        return str(self._folder)

    def disable(self, model: str, until: float) -> None:
        """See :class:`Switch`."""
        overrides.disable(self._folder, model, until, self._clock())

    def enable(self, model: str) -> bool:
        """See :class:`Switch`."""
        return overrides.enable(self._folder, model)

    def disabled(self) -> dict[str, float]:
        """See :class:`Switch`."""
        now = self._clock()
        return {model: until for model, until in overrides.read_disabled(self._folder).items() if until > now}


def switch_of(named: str | None, registry: Registry) -> Switch:
    """The one that ``--state`` names, else the registry's shared state, else the usual folder."""
    url = named if named is not None and is_shared(named) else registry.state if named is None else None
    if url is not None:
        return SharedState(url)
    return FolderSwitch(overrides.default_state_dir() if named is None else Path(named))

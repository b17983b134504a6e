"""Bundles beside the main one: of arms of experiments and of the canary, opened and taken over like the main one.

One that does not open is refused, said, and its arm goes on with the former one, or with the main bundle where there is
none. A canary's bundle that was withdrawn (disabled under ``bundle:VERSION``) takes no traffic, whoever names it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from router_runtime.bundle import MAX_BYTES, Bundle
from router_runtime.errors import PointsmanError
from router_runtime.experiments import CANARY
from router_runtime.hooks import Observer, Swapped, SwapRefused
from router_runtime.opening import open_for
from router_runtime.registry import Registry

Signature = tuple[int, int, int] | None
BundleSignature = tuple[Signature, ...]


def withdrawn_name(version: str) -> str:
    """What a withdrawn bundle is called among what is disabled."""
    return f"bundle:{version}"


def signature(path: Path | None) -> Signature:
    """Changes whenever the file does."""
    if path is None:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def bundle_signature(folder: Path | None) -> BundleSignature:
    """Changes whenever the bundle does; every file counts: a copy may bring any of them last."""
    return () if folder is None else tuple(signature(folder / name) for name in MAX_BYTES)


class Alternates:
    """The other bundles that a registry names; :class:`router_runtime.live.Live` lets one thread at a time use it.

    Args:
        base: Where relative paths start; None = the working directory.
        observer: Is told of swaps and refusals, as ``bundle of ARM``.
    """

    def __init__(self, base: Path | None, observer: Observer) -> None:
        self._base, self._observer = base, observer
        self._folders: dict[str, Path] = {}
        self._seen: dict[str, tuple[Path, BundleSignature]] = {}
        self._refused: set[str] = set()
        self._opened: dict[str, Bundle] = {}

    def follow(self, registry: Registry, *, again: bool = False) -> None:
        """Opens what ``registry`` names and what has changed, ``again`` what was refused too, and forgets the rest."""
        self._folders = {arm: self._place(bundle) for arm, bundle in _named(registry)}
        self._opened = {arm: bundle for arm, bundle in self._opened.items() if arm in self._folders}
        self._seen = {arm: seen for arm, seen in self._seen.items() if arm in self._folders}
        for arm, now in self._signatures():
            if self._seen.get(arm) != now or (again and arm in self._refused):
                self._seen[arm] = now
                self._open(arm, registry)

    def changed(self) -> bool:
        """Whether a bundle is another one than :meth:`follow` last looked at."""
        return any(self._seen.get(arm) != now for arm, now in self._signatures())

    def _signatures(self) -> Iterator[tuple[str, tuple[Path, BundleSignature]]]:
        """By arm, the folder and the state of its bundle."""
        for arm, folder in self._folders.items():
            yield arm, (folder, bundle_signature(folder))

    def serving(self, disabled: Mapping[str, float], now: float) -> Iterator[tuple[str, Bundle]]:
        """The arms with a bundle of their own, without a withdrawn canary.

        Args:
            disabled: Until when, UTC seconds since the epoch, by name.
            now: UTC seconds since the epoch.
        """
        for arm, bundle in self._opened.items():
            if arm != CANARY or disabled.get(withdrawn_name(bundle.version), -math.inf) <= now:
                yield arm, bundle

    def _place(self, bundle: str) -> Path:
        return Path(bundle) if self._base is None else self._base / bundle

    def _open(self, arm: str, registry: Registry) -> None:
        what = f"bundle of {arm}"
        try:
            self._opened[arm] = open_for(registry, self._folders[arm])
        except PointsmanError as error:
            self._refused.add(arm)
            self._observer(SwapRefused(what, error))
        else:
            self._refused.discard(arm)
            self._observer(Swapped(what, self._opened[arm].version))


def _named(registry: Registry) -> Iterator[tuple[str, str]]:
    """(arm, path of its bundle)."""
    if registry.canary is not None:
        yield CANARY, registry.canary.bundle
    for experiment in registry.experiments.values():
        for arm in experiment.arms:
            if arm.bundle is not None:
                yield f"{experiment.name}/{arm.name}", arm.bundle

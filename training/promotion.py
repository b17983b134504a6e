"""Which version serves: the aliases of MLflow and the bundle in the folder that the runtime watches, moved together.

A promotion is written down before its first step and forgotten after its last one, so that one that was killed half way
is finished by whoever comes next. A version's bundle is fetched and opened before anything points to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from router_runtime.bundle import Bundle, open_bundle
from router_runtime.bundle_writer import install_bundle, require_bundle_place
from router_runtime.errors import BundleTampered, UnknownVersion
from router_runtime.opening import open_for
from router_runtime.registry import Registry
from training.retrain.state import State, read_json, write_durably
from training.retrain.window import iso
from training.run_record import Version
from training.scratch import scratch
from training.tracking import Tracker

CHAMPION, CHALLENGER = "champion", "challenger"
FORMER = "former_champion"
WITHDRAWN = "withdrawn_at"
"""Tag of a version that the canary's guard took out of traffic."""
HISTORY = "history."
"""Prefix of the registered model's tags that keep every promotion and rollback, by time."""
Kind = Literal["gate", "forced", "rollback"]


@dataclass(frozen=True)
class Promotion:
    """One change of the champion.

    Args:
        version: The new champion.
        former: The old one; None where there was none.
        kind: ``gate`` = its verdict allowed it, ``forced`` = a person overruled the verdict, ``rollback``.
        author: Who did it.
        reason: Why.
        time: UTC seconds since the epoch.
    """

    version: str
    former: str | None
    kind: Kind
    author: str
    reason: str
    time: float


class Promoter:
    """Moves the champion.

    Args:
        tracker: The MLflow of the versions.
        served: Folder that the runtime watches.
        state: Where an unfinished promotion is written down.
        observe: Told the name of each step before it is taken.
        registry: What the bundle will serve beside: one that needs another encoder is refused. None = not known.

    Raises:
        ConfigError: Where ``served`` holds something that is no bundle.
    """

    def __init__(
        self,
        tracker: Tracker,
        served: Path,
        state: State,
        observe: Callable[[str], None] = lambda _step: None,
        *,
        registry: Registry | None = None,
    ) -> None:
        require_bundle_place(served)
        self.tracker, self.served, self.state, self._observe = tracker, served, state, observe
        self._registry = registry

    @property
    def _pending(self) -> Path:
        return self.state.folder / "promotion.json"

    def finish_pending(self) -> Promotion | None:
        """Finishes a promotion that was killed half way; None where there is none."""
        found = read_json(self._pending)
        if found is None:
            return None
        pending = Promotion(**found)
        self._carry_out(pending)
        return pending

    def promote(self, change: Promotion) -> Bundle:
        """Makes ``change.version`` the champion.

        Returns:
            The bundle that serves now.

        Raises:
            UnknownVersion: Where there is no such version.
            BundleError: Where its bundle does not open, is not the one that was registered, or cannot serve beside the
                registry; nothing has changed.
        """
        with scratch() as folder:
            bundle = self.fetch(change.version, folder)
            if self._registry is not None:
                open_for(self._registry, bundle)
        self._observe("intent")
        write_durably(self._pending, json.dumps(asdict(change)).encode())
        return self._carry_out(change)

    def fetch(self, number: str, folder: Path) -> Bundle:
        """The bundle of a version, opened and checked against its ``bundle_sha256``.

        Raises:
            UnknownVersion: Where there is no such version.
            BundleError: Where it does not open or is another one.
        """
        bundle = open_bundle(self.tracker.bundle(number, folder))
        version = self.tracker.version(number)
        wanted = version.tags.get("bundle_sha256", "") if version is not None else ""
        if not wanted.startswith(bundle.version):
            raise BundleTampered(
                f"version {number} holds the bundle {bundle.version}, not the one it was registered with"
            )
        return bundle

    def _carry_out(self, change: Promotion) -> Bundle:
        """All steps; each does no harm when it is done twice."""
        with scratch() as folder:
            bundle = self.fetch(change.version, folder)
            self._observe("record")
            self._record(change)
            self._observe("alias")
            self.tracker.point(CHAMPION, change.version)
            challenger = self.tracker.version(CHALLENGER)
            if challenger is not None and challenger.number == change.version:
                self.tracker.unpoint(CHALLENGER)
            self._observe("serve")
            served = install_bundle(bundle.path, self.served)
        self._observe("served")
        self._pending.unlink()
        return served

    def _record(self, change: Promotion) -> None:
        tags = {
            "promoted_at": iso(change.time),
            "promoted_by": change.author,
            "promotion_kind": change.kind,
            "promotion_reason": change.reason[:4000],
        }
        # A champion that comes back keeps its own predecessor: rolling back twice goes back twice.
        if change.kind != "rollback" and change.former not in (None, change.version):
            tags[FORMER] = str(change.former)
        self.tracker.tag(change.version, tags)
        if change.kind == "rollback" and change.former is not None:
            gone = {"rolled_back_at": iso(change.time), "rolled_back_by": change.author}
            self.tracker.tag(change.former, {**gone, "rollback_reason": change.reason[:4000]})
        self.tracker.tag_model(f"{HISTORY}{iso(change.time)}.{change.version}", json.dumps(asdict(change))[:4900])

    def rollback(self, author: str, reason: str, time: float) -> tuple[Promotion, Bundle]:
        """Returns the former champion.

        Raises:
            UnknownVersion: Where there is no champion, or it had no predecessor.
            BundleError: Where the former one's bundle does not open; nothing has changed.
        """
        champion = self.tracker.version(CHAMPION)
        if champion is None:
            raise UnknownVersion(f"no version is {CHAMPION}, so there is nothing to roll back; promote makes one")
        former = champion.tags.get(FORMER)
        if former is None:
            raise UnknownVersion(
                f"version {champion.number} had no {CHAMPION} before it, so there is nothing to return to; promote "
                "VERSION names another one"
            )
        change = Promotion(former, champion.number, "rollback", author, reason, time)
        return change, self.promote(change)

    def wanted(self, reference: str | None) -> Version:
        """The version of a number or alias; the newest one for None.

        Raises:
            UnknownVersion: Where there is none.
        """
        found = self.tracker.newest() if reference is None else self.tracker.version(reference)
        if found is None:
            raise self.tracker.unknown(reference)
        return found

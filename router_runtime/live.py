"""What serves now: registry, bundle and disabled models, taken over from their files when those change.

A change is looked for at most once a second, when something is decided (the gateway looks by itself, too), and read on
a thread of its own; a decision goes on with the former snapshot meanwhile. What is not valid is refused, said, and
leaves the former one serving. A bundle keeps the encoder that it was opened with: where the registry names another
one, that is for the next bundle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from router_runtime.alternates import Alternates, BundleSignature, Signature, bundle_signature, signature
from router_runtime.bundle import Bundle
from router_runtime.errors import PointsmanError
from router_runtime.hooks import Observer, Swapped, SwapRefused
from router_runtime.opening import open_for
from router_runtime.overrides import FILE, read_disabled
from router_runtime.registry import Registry
from router_runtime.registry_agents_reader import agent_files
from router_runtime.registry_reader import load_registry
from router_runtime.snapshot import Snapshot, make_snapshot

CHECK_EVERY_S = 1.0

_Sources = tuple[tuple[object, ...], BundleSignature, Signature]


class Live:
    """The snapshot in force; safe to use from several threads.

    Args:
        registry: A registry, or the path of its file, which is then watched.
        bundle: A bundle, or the path of its folder, which is then watched; None for none.
        state_dir: Where models are disabled; None = nowhere.
        clock: UTC seconds since the epoch.
        observer: Is told of swaps and refusals.
        timer: Monotonic seconds, for when to look: a clock that is set back must not hide what changed.

    Raises:
        RegistryError: Where the registry is not valid at the start.
        BundleError: Likewise.
        StoreError: Likewise.
    """

    def __init__(
        self,
        registry: Registry | Path,
        bundle: Bundle | Path | None,
        state_dir: Path | None,
        clock: Callable[[], float],
        observer: Observer,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._timer, self._observer, self._state_dir = clock, timer, observer, state_dir
        self._registry_file = registry if isinstance(registry, Path) else None
        self._bundle_folder = bundle if isinstance(bundle, Path) else None
        self._guard = threading.Lock()
        self._refused: set[str] = set()
        self._others = Alternates(registry.parent if isinstance(registry, Path) else None, observer)
        seen, self._registry = _loaded(registry, None) if isinstance(registry, Path) else ((), registry)
        self._seen = (seen, *self._signatures()[1:])
        self._bundle = None if bundle is None else open_for(self._registry, bundle)
        self._disabled = read_disabled(state_dir) if state_dir else {}
        self._disabled_everywhere: dict[str, float] = {}
        self._others.follow(self._registry)
        self._check_at = timer() + CHECK_EVERY_S
        self._snapshot = self._make()

    @property
    def state_dir(self) -> Path | None:
        """Where models are disabled for this machine; None = nowhere."""
        return self._state_dir

    def snapshot(self, now: float) -> Snapshot:
        """The one to decide by at ``now`` (UTC seconds); once a second it looks whether a file changed."""
        moment = self._timer()
        if moment >= self._check_at:
            self._check_at = moment + CHECK_EVERY_S
            if self._signatures() != self._seen or self._others.changed():
                threading.Thread(target=self.refresh, name="pointsman-reload", daemon=True).start()
        snapshot = self._snapshot
        if now >= snapshot.valid_until:
            with self._guard:
                snapshot = self._snapshot = self._make()
        return snapshot

    def refresh(self, *, again: bool = False) -> None:
        """Takes over what changed, at once; returns when it is in force or was refused.

        Args:
            again: Look again at what was refused and has not changed since, too.
        """
        with self._guard:
            before, self._seen = self._seen, self._signatures()
            registry, names = self._registry, ("registry", "bundle", "overrides")
            for what, old, new in zip(names, before, self._seen, strict=True):
                again = again or self._registry is not registry  # whose encoder may fit a bundle that was refused
                if old != new or (again and what in self._refused):
                    self._reload(what)
            self._others.follow(self._registry, again=again)
            self._snapshot = self._make()

    def swap_bundle(self, bundle: Bundle | Path | None) -> None:
        """Serves another bundle from now on.

        Raises:
            BundleError: Where it does not open; the former one goes on serving.
        """
        folder = bundle if isinstance(bundle, Path) else None
        seen = bundle_signature(folder)  # before it is read: what replaces it meanwhile is news
        try:
            opened = None if bundle is None else open_for(self._registry, bundle)
        except PointsmanError as error:
            self._observer(SwapRefused("bundle", error))
            raise
        with self._guard:
            self._bundle = opened
            self._bundle_folder = folder
            self._seen = (self._seen[0], seen, self._seen[2])
            self._refused.discard("bundle")
            self._snapshot = self._make()
        self._observer(Swapped("bundle", opened.version if opened else "none"))

    def share_disabled(self, ends: Mapping[str, float]) -> None:
        """Takes over the models that are disabled on every replica, beside those of this machine's file.

        Args:
            ends: Until when, in UTC seconds since the epoch, by model; infinity without an end.
        """
        with self._guard:
            self._disabled_everywhere = dict(ends)
            self._snapshot = self._make()
        self._observer(Swapped("overrides", ",".join(sorted(ends)) or "none"))

    def _all_disabled(self) -> dict[str, float]:
        """Of this machine and of all replicas; the later end counts."""
        both = dict(self._disabled)
        for name, end in self._disabled_everywhere.items():
            both[name] = max(end, both.get(name, end))
        return both

    def _reload(self, what: str) -> None:
        try:
            version = self._read(what)
        except PointsmanError as error:
            self._refused.add(what)
            self._observer(SwapRefused(what, error))
        else:
            self._refused.discard(what)
            self._observer(Swapped(what, version))

    def _read(self, what: str) -> str:
        """Reads one of the sources; returns its version."""
        if what == "registry" and self._registry_file is not None:
            seen, self._registry = _loaded(self._registry_file, self._registry.agents_dir)
            self._seen = (seen, *self._seen[1:])
            return self._registry.version
        if what == "bundle" and self._bundle_folder is not None:
            self._bundle = open_for(self._registry, self._bundle_folder)
            return self._bundle.version
        self._disabled = read_disabled(self._state_dir) if self._state_dir else {}
        return ",".join(sorted(self._disabled)) or "none"

    def _make(self) -> Snapshot:
        disabled, now = self._all_disabled(), self._clock()
        main = make_snapshot(self._registry, self._bundle, disabled, now)
        others = self._others.serving(disabled, now)
        arms = {arm: make_snapshot(self._registry, bundle, disabled, now) for arm, bundle in others}
        return replace(main, arms=arms) if arms else main

    def _signatures(self) -> _Sources:
        state = self._state_dir / FILE if self._state_dir else None
        registry = _registry_signature(self._registry_file, self._registry.agents_dir)
        return registry, bundle_signature(self._bundle_folder), signature(state)


def _registry_signature(file: Path | None, agents_dir: Path | None) -> tuple[object, ...]:
    """Changes whenever the registry's file does, or one with an agent."""
    if file is None:
        return ()
    return signature(file), *((path.name, signature(path)) for path in agent_files(agents_dir))


def _loaded(file: Path, agents_dir: Path | None) -> tuple[tuple[object, ...], Registry]:
    """The registry, and the signature of its files before they were read: what is edited meanwhile is news.

    Args:
        file: The registry's.
        agents_dir: Where its agents are expected.
    """
    while True:
        seen = _registry_signature(file, agents_dir)
        registry = load_registry(file)
        if registry.agents_dir == agents_dir:
            return seen, registry
        agents_dir = registry.agents_dir

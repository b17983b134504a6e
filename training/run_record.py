"""What is handed to MLflow and what comes back, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

MODEL = "pointsman-router"
"""Name of the registered model whose versions are the routers."""


@dataclass(frozen=True)
class RunRecord:
    """What is kept of one training or comparison.

    Args:
        params: Settings, as text of at most 500 characters each.
        metrics: Finite numbers by name.
        tags: Fingerprints and the like.
        figures: PNG bytes by file name.
        documents: Text by file name (report, model card).
    """

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, bytes] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """Where a version stands.

    Args:
        run_id: Its run.
        version: Its number under :data:`MODEL`.
        alias: The one that it was given: ``champion`` for the first version, ``challenger`` for later ones, unless
            another was asked for.
        tracking_uri: The MLflow that holds it.
    """

    run_id: str
    version: str
    alias: str
    tracking_uri: str


@dataclass(frozen=True)
class Version:
    """A registered version as it stands now.

    Args:
        number: Under :data:`MODEL`.
        run_id: Its run.
        tags: Its tags.
        aliases: What points to it.
    """

    number: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()


class VersionStore(Protocol):
    """Keeps router versions; :class:`training.tracking.Tracker` does, in MLflow."""

    def register(self, name: str, record: RunRecord, bundle: Path, fingerprint: str) -> Registered:
        """Logs a run with its bundle and registers it as a version."""
        ...

"""What a run of the weekly job is told, and what names it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from router_runtime.encoder import TextEncoder
from router_runtime.features import FEATURES_VERSION
from router_runtime.opening import text_encoder
from router_runtime.registry import Registry
from training.dataset import Table
from training.fingerprints import data_fingerprint
from training.gate import GateRules
from training.outcome_models import LearnConfig
from training.retrain.window import Window

OUTCOMES = {"promoted": 0, "kept": 3, "refused": 4}
"""Exit code by outcome; 1 is a failure and 2 wrong usage, as everywhere."""


@dataclass(frozen=True)
class Config:
    """How to retrain; with the window's events it names the run.

    Args:
        learn: Settings of the learner.
        rules: Of the gate.
        folds: Folds of sessions for the held-out predictions that are judged.
        seed: Of folds and learning.
        min_rows: Fewer labelled decisions than this are an error.
    """

    learn: LearnConfig = field(default_factory=LearnConfig)
    rules: GateRules = field(default_factory=GateRules)
    folds: int = 3
    seed: int = 0
    min_rows: int = 500

    def fingerprint(self, table: Table, encoder: TextEncoder | None = None) -> str:
        """sha256 of the events, of these settings, of the version of the features, and of the encoder's files."""
        named = {"config": asdict(self), "features": FEATURES_VERSION, "events": data_fingerprint(table)}
        if encoder is not None:
            named["encoder"] = encoder.fingerprint
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        store: Folder or URL of the log.
        window: Which events.
        registry: Says how both routers choose.
        served: Folder that the runtime watches.
        state: Folder of what runs leave behind.
        config: How.
        report: Write the report of the window, too.
        force: Make another version where the window has one already.
        author: Who promotes, for the record.
    """

    store: str
    window: Window
    registry: Registry
    served: Path
    state: Path
    config: Config = field(default_factory=Config)
    report: bool = True
    force: bool = False
    author: str = "retrain"

    @property
    def encoder(self) -> TextEncoder | None:
        """What the registry has read texts beside the words, if anything.

        Raises:
            ConfigError: It cannot be opened.
        """
        return text_encoder(self.registry)


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Args:
        outcome: ``promoted``, ``kept`` (the champion serves on) or ``refused`` (the log supports no claim).
        version: The MLflow version of the challenger.
        verdict: JSON-ready: ``promote``, ``summary``, ``reasons``, ``against``, ``champion``.
        details: Counts, window, figures, fingerprint, bundle: JSON-ready.
        repeated: Whether this window had its version already.
    """

    outcome: str
    version: str
    verdict: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    repeated: bool = False

    @property
    def exit_code(self) -> int:
        """See :data:`OUTCOMES`."""
        return OUTCOMES[self.outcome]

    def as_json(self) -> dict[str, Any]:
        """One document."""
        head = {"outcome": self.outcome, "version": self.version, "repeated": self.repeated}
        return {**head, "verdict": self.verdict, **self.details}

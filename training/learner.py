"""The learner as the pipeline calls it: a table in, fitted parts out."""

from __future__ import annotations

from dataclasses import asdict

from training.crossval import Learn
from training.dataset import Table
from training.feature_matrix import AnyFeatures, RepeatedFeatures
from training.graph_parts import GraphParts
from training.log_rows import merge_repeats
from training.outcome_models import LearnConfig, fit
from training.progress import QUIET, Progress


def learner(config: LearnConfig, progress: Progress = QUIET) -> Learn:
    """:func:`training.outcome_models.fit` with its settings; of a log, each different request is one row."""

    def learn(table: Table, features: AnyFeatures | None = None) -> GraphParts:
        if isinstance(features, RepeatedFeatures):
            table, features = merge_repeats(table, features)
            progress.say(f"{len(features):,} different requests, {len(table.outcomes):,} pairs of request and model")
        return fit(table, config, features=features, progress=progress).parts

    return learn


def learner_params(config: LearnConfig) -> dict[str, str]:
    """The settings as text by dotted name, for the record."""
    out: dict[str, str] = {}
    for name, value in asdict(config).items():
        nested = value if isinstance(value, dict) else {"": value}
        out |= {f"learn.{name}.{key}".rstrip("."): str(entry) for key, entry in nested.items()}
    return out

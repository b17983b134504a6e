"""Held-out predictions come from routers that saw nothing of the prompt's group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.graph_examples import linear_parts
from tests.training.table_examples import small_table
from training.crossval import Folds, baselines_out_of_fold, out_of_fold, restrict, restrict_all
from training.evaluate import evaluate_predictions
from training.feature_matrix import featurise
from training.figures import report_figures
from training.held_out import held_out


@pytest.fixture(scope="module")
def held():
    return held_out(small_table(120))


def folds_of(held, test=(0, 1, 2)):
    return Folds(np.array([int(group[1:]) % 3 for group in held.truth.groups]), test)


def test_every_held_out_prompt_is_predicted_without_its_group(held):
    seen = []

    def learn(table, _features):
        seen.append(set(table.prompts["group"]))
        return replace(linear_parts(3, 2), models=("cheap", "middle", "dear"))

    folds = folds_of(held)
    found = out_of_fold(held.table, held, featurise(held.texts), folds, learn)
    assert np.isfinite(found.quality).all()
    assert found.quality.shape == (120, 3)
    for fold, groups in enumerate(seen):
        assert groups
        assert not groups & set(held.truth.groups[folds.index == fold])


def test_one_holdout_leaves_the_rest_unpredicted(held):
    folds = folds_of(held, test=(1,))
    parts = replace(linear_parts(3, 2), models=("cheap", "middle", "dear"))
    found = out_of_fold(held.table, held, featurise(held.texts), folds, lambda _table, _features: parts)
    assert np.array_equal(np.isfinite(found.quality).all(axis=1), folds.rows)
    part = restrict(held, folds.rows)
    assert part.counts["prompts_used"] == folds.rows.sum() == len(part.texts)
    report = evaluate_predictions(part, found.take(folds.rows), replicates=20)
    assert 0 < report["aiq"] < 1


def test_baselines_run_on_the_same_folds_and_figures_are_drawn(held):
    folds = folds_of(held)
    others = baselines_out_of_fold(held, folds, names=["task_table"])
    assert np.isfinite(others["task_table"].quality).all()
    figures = report_figures(held, others["task_table"], restrict_all(others, np.ones(120, dtype=bool)))
    assert set(figures) == {"frontier.png", "reliability.png", "quality_by_task.png", "share_by_task.png"}
    assert all(data.startswith(b"\x89PNG") and len(data) < 300_000 for data in figures.values())

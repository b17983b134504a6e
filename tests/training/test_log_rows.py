"""Repeated requests of a log become one row each."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.training.table_examples import small_table
from training.dataset import Table
from training.feature_matrix import RepeatedFeatures, featurise
from training.learner import learner
from training.log_rows import merge_repeats
from training.outcome_models import LearnConfig
from training.quality_head import TreeConfig


def log_of(rows, texts=("first", "second")):
    """A table of decisions (request, model, quality, weight)."""
    ids = [f"d{i}" for i in range(len(rows))]
    request, model, quality, weight = zip(*rows, strict=True)
    prompts = pd.DataFrame({"prompt_id": ids, "text": [texts[r] for r in request], "task": "t", "group": request})
    outcomes = pd.DataFrame({"prompt_id": ids, "model": model, "quality": quality, "weight": weight})
    outcomes["cost_usd"] = np.arange(len(rows), dtype=float)
    models = pd.DataFrame({"model": ["a", "b"]})
    return Table(prompts, outcomes, models, "log"), RepeatedFeatures(featurise(texts), np.array(request))


def test_each_pair_has_the_weighted_mean_of_its_labels():
    rows = [(0, "a", 1.0, 0.9), (1, "b", 1.0, 0.5), (0, "a", 0.0, 0.1), (0, "b", 0.25, 1.0), (0, "a", np.nan, 0.0)]
    table, features = merge_repeats(*log_of(rows))
    assert table.prompts["prompt_id"].tolist() == ["d0", "d1"]
    assert len(features) == 2
    found = table.outcomes.set_index(["prompt_id", "model"])
    assert found.loc[("d0", "a"), "quality"] == pytest.approx(0.9)
    assert found.loc[("d0", "a"), "weight"] == pytest.approx(0.5)
    assert found.loc[("d0", "a"), "cost_usd"] == pytest.approx((0 + 2 + 4) / 3)
    assert found.loc[("d0", "b"), "quality"] == 0.25
    np.testing.assert_array_equal(table.matrix("quality"), [[0.9, 0.25], [np.nan, 1.0]])


def test_a_pair_without_a_label_stays_unlabelled():
    table, _ = merge_repeats(*log_of([(0, "a", np.nan, 0.0), (1, "b", 1.0, 1.0)]))
    assert table.outcomes["quality"].isna().tolist() == [True, False]
    assert table.outcomes["weight"].tolist() == [0.0, 1.0]


def test_requests_that_a_fold_leaves_out_are_gone():
    table, features = log_of([(0, "a", 1.0, 1.0), (1, "b", 0.0, 1.0), (1, "a", 0.0, 1.0)])
    kept = np.array([False, True, True])
    merged, matrix = merge_repeats(table.take(kept), features.take(kept))
    assert merged.prompts["text"].tolist() == ["second"]
    assert len(matrix) == 1
    np.testing.assert_array_equal(matrix.ids, features[1].ids)


def test_a_log_that_holds_the_whole_table_teaches_what_the_table_teaches():
    table = small_table(80)
    features = featurise(table.prompts["text"].tolist())
    code = np.repeat(np.arange(80), 3)
    ids = [f"d{i}" for i in range(240)]
    log = replace(
        table,
        prompts=table.prompts.iloc[code].assign(prompt_id=ids).reset_index(drop=True),
        outcomes=table.outcomes.assign(prompt_id=ids, weight=1.0),
    )
    learn = learner(LearnConfig(trees=TreeConfig(rounds=3, threads=1)))
    whole, logged = learn(table, features), learn(log, RepeatedFeatures(features, code))
    np.testing.assert_array_equal(whole.text.weights, logged.text.weights)
    np.testing.assert_array_equal(whole.calibration, logged.calibration)

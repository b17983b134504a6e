"""The small tables beside the text scores: what tokens mean on average, and how little data is borne."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.table_examples import small_table
from training.labels_matrix import targets_of
from training.tables import MAX_SMEARING, quality_table, token_lines


def with_tokens(log_tokens):
    targets = targets_of(small_table(len(log_tokens)))
    return replace(targets, log_tokens=np.asarray(log_tokens, dtype=np.float32))


def test_tokens_are_right_on_average_where_their_spread_is_wide():
    rng = np.random.default_rng(0)
    score = rng.normal(size=800).astype(np.float32)
    log_tokens = 5.0 + 0.5 * score[:, None] + rng.normal(size=(800, 3))
    lines = token_lines(score, with_tokens(log_tokens))
    for model in range(3):
        predicted = np.exp(lines[model, 0] + lines[model, 1] * score)
        assert predicted.mean() == pytest.approx(np.exp(log_tokens[:, model]).mean(), rel=1e-3)
        assert lines[model, 1] == pytest.approx(0.5, abs=0.15)


def test_one_enormous_answer_cannot_raise_the_rest_without_bound():
    log_tokens = np.full((100, 3), 3.0)
    log_tokens[0] = 14.0
    lines = token_lines(np.zeros(100, dtype=np.float32), with_tokens(log_tokens))
    assert np.exp(lines[:, 0]).max() <= MAX_SMEARING * np.exp(3.0 + 11.0 / 100) * 1.001


def test_a_domain_nobody_answered_in_has_the_models_means():
    targets = targets_of(small_table(200))
    quality = np.where((targets.domain == 0)[:, None], np.nan, targets.quality).astype(np.float32)
    table = quality_table(replace(targets, quality=quality))
    np.testing.assert_allclose(table[:, 1], table[:, 0], atol=1e-6)

"""The small tables beside the text scores: what tokens mean on average, and how little data is borne."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.table_examples import small_table
from training.labels_matrix import targets_of
from training.tables import DEFAULT_TOKENS, OUTLIER, predicted_tokens, quality_table, token_heads


def with_tokens(log_tokens):
    targets = targets_of(small_table(len(log_tokens)))
    return replace(targets, log_tokens=np.asarray(log_tokens, dtype=np.float32))


def one_domain(n):
    return np.ones((n, 1), dtype=np.float32)


def test_tokens_are_right_on_average_where_their_spread_is_wide():
    rng = np.random.default_rng(0)
    score = rng.normal(size=800).astype(np.float32)
    log_tokens = 5.0 + 0.5 * score[:, None] + rng.normal(size=(800, 3))
    heads = token_heads(one_domain(800), score, with_tokens(log_tokens))
    predicted = predicted_tokens(heads[:3], one_domain(800), score)
    np.testing.assert_allclose(predicted.mean(axis=0), np.expm1(log_tokens).mean(axis=0), rtol=1e-2)
    np.testing.assert_allclose(heads[:, 0], 0.5, atol=0.15)


def test_a_letter_and_an_essay_are_told_apart():
    """What a ridge score smooths over: one domain is answered in a word, another at length."""
    rng = np.random.default_rng(0)
    essay = rng.random(600) < 0.2
    likely = np.column_stack((~essay, essay)).astype(np.float32) * 0.98 + 0.01
    tokens = np.where(essay[:, None], rng.lognormal(5.0, 0.5, size=(600, 3)), 1.0)
    score = np.where(essay, 1.0, -0.3).astype(np.float32) + rng.normal(size=600).astype(np.float32) * 0.3
    heads = token_heads(likely, score, with_tokens(np.log1p(tokens)))
    predicted = predicted_tokens(heads[:3], likely, score)
    assert predicted[~essay].mean() < 2.5
    assert predicted[essay].mean() == pytest.approx(tokens[essay].mean(), rel=0.1)


def test_a_domain_in_doubt_has_the_mean_of_both():
    likely = np.tile(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32), (300, 1))
    tokens = np.tile(np.array([[10.0], [1000.0]]), (300, 3))
    heads = token_heads(likely, np.zeros(600, dtype=np.float32), with_tokens(np.log1p(tokens)))
    even = predicted_tokens(heads, np.array([[0.5, 0.5]], dtype=np.float32), np.zeros(1, dtype=np.float32))
    np.testing.assert_allclose(even, 505.0, rtol=0.1)


def test_models_with_few_answers_lean_on_all_and_strangers_are_the_mean():
    rng = np.random.default_rng(0)
    log_tokens = np.full((400, 3), np.nan)
    log_tokens[:, 0] = rng.normal(5.0, 0.2, size=400)
    log_tokens[:3, 1] = 9.0
    heads = token_heads(one_domain(400), np.zeros(400, dtype=np.float32), with_tokens(log_tokens))
    assert 200 < heads[1, 1] < np.exp(8.9)
    np.testing.assert_allclose(heads[2], heads[3], rtol=1e-4)
    nobody = token_heads(one_domain(400), np.zeros(400, np.float32), with_tokens(log_tokens * np.nan))
    np.testing.assert_allclose(nobody[:, 1], DEFAULT_TOKENS, rtol=1e-4)


def test_one_enormous_answer_cannot_raise_the_rest_without_bound():
    log_tokens = np.full((100, 3), 3.0)
    log_tokens[0] = 14.0
    heads = token_heads(one_domain(100), np.zeros(100, dtype=np.float32), with_tokens(log_tokens))
    assert heads[:, 1].max() <= np.exp(3.0 + 11.0 / 100) * (1 + OUTLIER / 100) * 1.05


def test_a_domain_nobody_answered_in_has_the_models_means():
    targets = targets_of(small_table(200))
    quality = np.where((targets.domain == 0)[:, None], np.nan, targets.quality).astype(np.float32)
    table = quality_table(replace(targets, quality=quality))
    np.testing.assert_allclose(table[:, 1], table[:, 0], atol=1e-6)

"""What the fit chooses between text scores and domain table, on made-up tables whose better half is known."""

import numpy as np
import pytest

from training.blending import SPREADS, WEIGHTS, choose_blend, narrowed
from training.labels_matrix import Targets

MODELS = 3


def outcomes(quality, n):
    """Targets of full information, or of what is not NaN in ``quality``."""
    return Targets(
        models=tuple("abc"),
        domains=("x",),
        quality=quality.astype(np.float32),
        weight=np.ones(n, dtype=np.float32),
        domain=np.zeros(n, dtype=np.intp),
        input_tokens=np.full((n, MODELS), np.nan, dtype=np.float32),
        log_tokens=np.full((n, MODELS), np.nan, dtype=np.float32),
        latency=np.full((n, MODELS), np.nan, dtype=np.float32),
        groups=np.arange(n),
    )


@pytest.fixture
def world():
    """The chance of each model on each prompt, drawn labels, and noise of the same spread [n, M]."""
    rng = np.random.default_rng(3)
    n = 2000
    chance = rng.uniform(0.1, 0.9, (n, MODELS)).astype(np.float32)
    noise = rng.uniform(0.1, 0.9, (n, MODELS)).astype(np.float32)
    return chance, noise, (rng.random((n, MODELS)) < chance).astype(np.float32), np.full((n, MODELS), 0.5, np.float32)


def test_believes_the_text_where_only_the_text_knows(world):
    chance, noise, labels, means = world
    found = choose_blend(chance, noise, means, outcomes(labels, len(labels)))
    assert found.weight < 0.2


def test_believes_the_table_where_only_the_table_knows(world):
    chance, noise, labels, means = world
    found = choose_blend(noise, chance, means, outcomes(labels, len(labels)))
    assert found.weight > 0.8


def test_settings_that_nothing_tells_apart_count_alike(world):
    _, noise, labels, means = world
    blind = np.full_like(noise, 0.5)
    found = choose_blend(blind, blind, means, outcomes(labels, len(labels)))
    assert found.spread == pytest.approx(np.mean(SPREADS))
    assert found.weight == pytest.approx(np.mean(WEIGHTS))


def test_few_prompts_move_the_mean_less_than_many(world):
    chance, noise, labels, means = world
    few, many = (choose_blend(noise[:n], chance[:n], means[:n], outcomes(labels[:n], n)) for n in (60, len(labels)))
    assert np.mean(WEIGHTS) < few.weight < many.weight


def test_a_log_of_one_model_per_prompt_keeps_most_of_the_table(world):
    chance, noise, labels, means = world
    logged = np.full_like(labels, np.nan)
    rows = np.arange(len(labels))
    chosen = np.random.default_rng(1).integers(0, MODELS, len(labels))
    logged[rows, chosen] = labels[rows, chosen]
    found = choose_blend(noise, chance, means, outcomes(logged, len(labels)))
    assert found.weight >= 0.7
    assert found.spread == 1.0


def test_narrowing_scales_differences_and_keeps_the_mean():
    deviations = np.array([[0.3, -0.1, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(narrowed(deviations, 0.5), [[0.2, 0.0, 0.1]], atol=1e-7)
    np.testing.assert_allclose(narrowed(deviations, 1.0), deviations, atol=1e-7)

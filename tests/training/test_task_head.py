"""The task head, its sharpness and the sketch, on a small table of two topics."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.table_examples import small_table
from training.feature_matrix import featurise
from training.kernel_ridge import Gram
from training.labels_matrix import targets_of
from training.sketch import sketch_directions
from training.task_head import domain_probabilities, fit_domains, sharpness


@pytest.fixture(scope="module")
def prompts():
    table = small_table(200)
    return Gram.of(featurise([str(text) for text in table.prompts["text"]])), targets_of(table)


def scores_of(gram, weights, rows):
    return gram.scores(rows, weights[: gram.bag.shape[1]], weights[gram.bag.shape[1] : -1]) + weights[-1]


def test_tells_the_topics_of_prompts_that_it_never_saw(prompts):
    gram, targets = prompts
    weights = fit_domains(gram, targets, np.arange(100))
    held = np.arange(100, 200)
    assert (scores_of(gram, weights, held).argmax(axis=1) == targets.domain[held]).mean() > 0.95


def test_a_domain_without_a_prompt_is_never_likely(prompts):
    gram, targets = prompts
    wider = replace(targets, domains=("absent", *targets.domains), domain=targets.domain + 1)
    weights = fit_domains(gram, wider, np.arange(200))
    assert (scores_of(gram, weights, np.arange(200)).argmax(axis=1) > 0).all()


def test_one_known_domain_gives_zeros(prompts):
    gram, targets = prompts
    one = replace(targets, domain=np.zeros_like(targets.domain))
    assert not fit_domains(gram, one, np.arange(50)).any()


def test_sharpness_makes_probabilities_as_sure_as_they_are_right():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4000, 3)).astype(np.float32)
    likely = domain_probabilities(4.0 * scores)
    domain = np.array([rng.choice(3, p=row / row.sum()) for row in likely.astype(np.float64)])
    assert sharpness(scores, domain) == pytest.approx(4.0, rel=0.1)


def test_the_sketch_keeps_more_of_the_prompts_than_any_random_directions(prompts):
    gram, _ = prompts
    kept = sketch_directions(gram, 6, seed=0)
    random = np.linalg.qr(np.random.default_rng(0).normal(size=kept.shape))[0]
    np.testing.assert_allclose(kept.T @ kept, np.eye(6), atol=1e-4)
    assert np.square(gram.bag @ kept).sum() > 5 * np.square(gram.bag @ random).sum()
    np.testing.assert_array_equal(kept, sketch_directions(gram, 6, seed=0))
    assert sketch_directions(gram, 0, seed=0).shape[1] == 0

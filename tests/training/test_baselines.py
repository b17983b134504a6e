"""Each baseline learns what is there to learn, from text alone, and is the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from training.baselines import BASELINES, Prompts, nearest
from training.sweep import Truth, choose

WORDS = {"sums": ["add", "minus", "times", "integral"], "verse": ["rhyme", "poem", "stanza", "sonnet"]}


def example(n: int, seed: int) -> tuple[list[str], Truth]:
    """Two topics; the first model answers sums, the second one verse."""
    rng = np.random.default_rng(seed)
    tasks = np.array(["sums" if i % 2 else "verse" for i in range(n)])
    texts = [" ".join(rng.choice(WORDS[t], 6)) + f" {rng.integers(100)}" for t in tasks]
    good = (tasks == "sums").astype(float)
    quality = np.column_stack((0.1 + 0.8 * good, 0.9 - 0.8 * good))
    groups = np.array([str(i) for i in range(n)])
    return texts, Truth(quality, np.tile([1.0, 2.0], (n, 1)), groups, tasks, ("a", "b"))


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_learns_which_model_answers_which_topic(name):
    texts, truth = example(240, 0)
    new_texts, new = example(60, 1)
    fitted = BASELINES[name](texts, truth, seed=0)
    predicted = fitted.predict(Prompts(new_texts, new.tasks))
    assert predicted.quality.shape == predicted.cost.shape == (60, 2)
    assert np.mean(choose(predicted, 0.0) == new.quality.argmax(axis=1)) >= 0.95
    again = BASELINES[name](texts, truth, seed=0).predict(Prompts(new_texts, new.tasks))
    assert np.array_equal(predicted.quality, again.quality)


def test_task_table_answers_unseen_tasks_with_the_overall_means():
    texts, truth = example(40, 0)
    fitted = BASELINES["task_table"](texts, truth)
    assert fitted.predict(Prompts(["?"], np.array(["new"]))).quality[0] == pytest.approx([0.5, 0.5])


def test_logistic_regression_of_a_model_that_is_always_right_is_a_constant():
    texts, truth = example(60, 0)
    always = Truth(
        np.column_stack((np.ones(60), truth.quality[:, 1])), truth.cost, truth.groups, truth.tasks, truth.models
    )
    fitted = BASELINES["tfidf_logistic"](texts, always)
    assert fitted.predict(Prompts(texts, truth.tasks)).quality[:, 0].tolist() == [1.0] * 60


def test_nearest_is_the_order_of_cosines():
    seen = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    assert nearest(np.array([[1.0, 0.0]]), seen, 2).tolist() == [[0, 2]]

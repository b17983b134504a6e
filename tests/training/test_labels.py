import numpy as np
import pandas as pd
import pytest

from router_runtime.errors import TooFewRows
from training.judge import fit_judge, rectified
from training.labels import LabelRules, combine

DECISIONS = pd.DataFrame({"decision_id": ["a", "b", "c", "d"], "model": ["small", "large", "small", "large"]})


def signals(*rows):
    return pd.DataFrame(rows, columns=["decision_id", "metric", "value", "source", "time"])


def test_sources_are_weighed_and_named():
    found = combine(
        signals(
            ("a", "thumbs", 1.0, "user", 1.0), ("a", "retry", 0.0, "implicit", 2.0), ("b", "unit", 0.0, "test", 1.0)
        ),
        DECISIONS,
    )
    assert found.quality[0] == pytest.approx(0.7 / 0.85)
    assert found.quality[1] == 0.0
    assert np.isnan(found.quality[2:]).all()
    assert found.weight.tolist() == pytest.approx([0.85, 1.0, 0.0, 0.0])
    assert found.provenance == ["user+implicit", "test", "", ""]
    assert found.missing == {"large": 0.5, "small": 0.5}


def test_every_row_is_counted():
    found = combine(
        signals(
            ("a", "thumbs", 0.0, "user", 5.0),
            ("a", "thumbs", 1.0, "user", 9.0),  # the later one holds, whatever the order of arrival
            ("a", "thumbs", 0.0, "user", 7.0),
            ("zz", "thumbs", 1.0, "user", 1.0),
            ("b", "thumbs", 7.0, "user", 1.0),
            ("b", "thumbs", float("nan"), "user", 1.0),
            ("b", "thumbs", 1.0, "oracle", 1.0),
        ),
        DECISIONS,
    )
    assert found.quality[0] == 1.0
    assert found.counts == {
        "seen": 7, "joined": 6, "unknown_decision": 1, "unknown_source": 1, "value_outside_0_1": 2, "superseded": 2,
        "decisions": 4, "labelled": 1, "used": 1,
    }  # fmt: skip


def test_too_few_labels_say_how_many_are_missing():
    with pytest.raises(TooFewRows, match="1 decisions have a label, 9 more are needed"):
        combine(signals(("a", "thumbs", 1.0, "user", 1.0)), DECISIONS, LabelRules(min_used=10))
    with pytest.raises(TooFewRows, match="0 decisions"):
        combine(signals(), DECISIONS)


def test_metrics_can_weigh_more_than_their_source_and_nothing():
    rules = LabelRules(metric_weights={"retry": 0.6, "abandoned": 0.0})
    found = combine(
        signals(
            ("a", "retry", 0.0, "implicit", 1.0),
            ("a", "thumbs", 1.0, "user", 1.0),
            ("b", "abandoned", 0.0, "implicit", 1.0),
        ),
        DECISIONS,
        rules,
    )
    assert found.quality[0] == pytest.approx(0.7 / 1.3)
    assert found.provenance[1] == ""


def judged(n, seed, real_share, favour=1.5):
    """A judge that is too kind, more so to model 1; truth, scores, models and the few real labels."""
    rng = np.random.default_rng(seed)
    model, ability = rng.integers(0, 2, n), rng.normal(size=n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-ability))).astype(float)
    score = 1 / (1 + np.exp(-(0.5 * ability + 1.0 + favour * (model == 1) + rng.normal(scale=0.5, size=n))))
    real = np.where(rng.random(n) < real_share, truth, np.nan)
    return truth, score, model, real


def test_a_kind_and_partial_judge_is_brought_to_the_truth():
    truth, score, model, real = judged(6000, seed=0, real_share=0.1)
    has = np.isfinite(real)
    judge = fit_judge(score[has], real[has], model[has], 2)
    fixed = judge.apply(score, model)
    for m in (0, 1):
        assert abs(score[model == m].mean() - truth[model == m].mean()) > 0.15
        assert abs(fixed[model == m].mean() - truth[model == m].mean()) < 0.05
    assert judge.by_model[1] < judge.by_model[0]


def test_without_pairs_the_judge_is_left_alone_and_few_move_it_little():
    score, nothing = np.array([0.2, 0.5, 0.9]), np.zeros(0)
    judge = fit_judge(nothing, nothing, np.zeros(0, dtype=np.int64), 1)
    assert judge.apply(score, np.zeros(3, dtype=np.int64)) == pytest.approx(score)
    one = fit_judge(np.array([0.9]), np.array([0.0]), np.array([0]), 1)
    assert 0.3 < one.apply(np.array([0.9]), np.array([0]))[0] < 0.9


def test_rectified_labels_are_unbiased_although_the_scores_are_not():
    errors = []
    for seed in range(100):
        truth, score, model, real = judged(1500, seed, real_share=0.2)
        errors.append(rectified(score, real, model, 2).mean() - truth.mean())
    assert abs(np.mean(errors)) < 3 * np.std(errors) / 10
    truth, score, _, _ = judged(1500, 0, 0.2)
    assert abs(score.mean() - truth.mean()) > 0.2


def test_rewards_follow_the_real_labels_where_there_are_few():
    errors = []
    for seed in range(30):
        truth, score, model, real = judged(1500, seed, real_share=0.2)
        names, ids = np.array(["small", "large"])[model], [str(i) for i in range(1500)]
        rows = [(ids[i], "judge", score[i], "judge", 1.0) for i in range(1500)]
        rows += [(ids[i], "unit", real[i], "test", 2.0) for i in np.flatnonzero(np.isfinite(real))]
        found = combine(signals(*rows), pd.DataFrame({"decision_id": ids, "model": names}))
        errors.append(found.reward.mean() - truth.mean())
        assert 0 <= found.quality.min() <= found.quality.max() <= 1
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(30)


def test_real_labels_alone_are_the_reward():
    found = combine(signals(("a", "thumbs", 1.0, "user", 1.0), ("b", "unit", 0.0, "test", 1.0)), DECISIONS)
    assert found.reward[:2].tolist() == [1.0, 0.0]

"""The learner on made-up tables of known truth: what it must find, and the odd tables that it must survive."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from router_runtime.errors import TooFewRows
from tests.training.table_examples import SKILL, small_table
from training.export import export_graph
from training.feature_matrix import featurise
from training.graph_parts import check_parts
from training.outcome_models import LearnConfig, fit
from training.parity import reference_predictions
from training.quality_head import TreeConfig

QUICK = LearnConfig(trees=TreeConfig(rounds=15, threads=1), rank=16, sketch=4)
MATH, VERSE = "prove the integral equation add number 7", "write a poem stanza rhyme sonnet ballad 7"


def predict(model, texts, models=None, descriptor=None):
    """Quality and output tokens [texts, models]."""
    parts = model.parts
    models = np.arange(len(parts.models)) if models is None else np.array(models)
    if descriptor is None:
        descriptor = np.zeros((len(models), 1 + len(parts.domains)), dtype=np.float32)
    return reference_predictions(parts, list(featurise(texts)), models, descriptor)


def as_log(table, seed=0):
    """One outcome per prompt, its model drawn uniformly."""
    rng = np.random.default_rng(seed)
    rows = table.outcomes.groupby("prompt_id", sort=False).sample(1, random_state=rng.integers(1 << 31))
    return replace(table, outcomes=rows.reset_index(drop=True))


@pytest.fixture(scope="module")
def full():
    return fit(small_table(600), QUICK)


def test_finds_each_models_skill_in_each_topic(full):
    quality, _ = predict(full, [MATH, VERSE])
    truth = np.array([SKILL[name] for name in full.parts.models]).T
    assert np.abs(quality - truth).max() < 0.15
    assert quality[0].argmax() == 2
    assert quality[0].argmin() == 0


def test_knows_the_topic_and_the_length_of_answers(full):
    _, tokens = predict(full, [MATH])
    assert (tokens > 60).all()
    assert (tokens < 200).all()
    assert full.parts.domains == ("math/sums", "writing/verse")


def test_parts_fit_each_other_and_export(full):
    check_parts(full.parts)
    assert len(export_graph(full.parts)) < 2_000_000


def test_an_unknown_model_is_ranked_by_its_prior(full):
    unknown = len(full.parts.models)
    descriptor = np.zeros((2, 1 + len(full.parts.domains)), dtype=np.float32)
    descriptor[:, 0] = 0.35, 0.85
    quality, _ = predict(full, [MATH, VERSE], [unknown, unknown], descriptor)
    assert (quality[:, 1] > quality[:, 0] + 0.1).all()


def test_the_same_seed_gives_the_same_predictions():
    table = small_table(160)
    first, second = (predict(fit(table, QUICK), [MATH, VERSE])[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_learns_from_a_log_of_one_model_per_prompt():
    model = fit(as_log(small_table(1200)), QUICK)
    quality, _ = predict(model, [MATH, VERSE])
    assert model.counts["labels_used"] == 1200
    assert quality[0, 2] > quality[0, 0] + 0.15
    assert quality[1, 0] > quality[1, 1]


def test_the_label_is_quality_and_not_how_often_a_model_was_chosen():
    table = as_log(small_table(1200))
    often = table.outcomes["model"].eq("cheap").to_numpy()
    kept = often | (np.random.default_rng(1).random(len(often)) < 0.2)
    model = fit(replace(table, outcomes=table.outcomes[kept].reset_index(drop=True)), QUICK)
    quality, _ = predict(model, [MATH])
    assert quality[0, 2] > quality[0, 0]


def test_unlabelled_pairs_are_ignored_and_counted():
    table = small_table(200)
    outcomes = table.outcomes.copy()
    outcomes.loc[:299, ["quality", "output_tokens", "cost_usd", "latency_ms"]] = np.nan
    counts = fit(replace(table, outcomes=outcomes), QUICK).counts
    assert counts["prompts_seen"] == 200
    assert counts["prompts_labelled"] == 100
    assert counts["labels_used"] == 300


def test_labels_of_one_kind_give_a_constant_near_it():
    table = small_table(80)
    model = fit(replace(table, outcomes=table.outcomes.assign(quality=1.0)), QUICK)
    quality, _ = predict(model, [MATH, VERSE, ""])
    assert (quality > 0.8).all()


def test_one_model_and_no_task_labels_are_enough():
    table = small_table(120)
    only = replace(
        table,
        prompts=table.prompts.assign(task=None, domain=None),
        outcomes=table.outcomes[table.outcomes["model"] == "middle"].reset_index(drop=True),
        models=table.models[table.models["model"] == "middle"].reset_index(drop=True),
    )
    model = fit(only, QUICK)
    quality, _ = predict(model, [MATH])
    assert len(model.parts.domains) == 1
    assert 0.0 < quality[0, 0] < 1.0


def test_graded_labels_are_kept_as_they_are():
    table = small_table(300)
    graded = table.outcomes["model"].map({"cheap": 0.2, "middle": 0.5, "dear": 0.7})
    quality, _ = predict(fit(replace(table, outcomes=table.outcomes.assign(quality=graded)), QUICK), [MATH, VERSE])
    np.testing.assert_allclose(quality, [[0.2, 0.5, 0.7]] * 2, atol=0.08)


def test_a_model_with_a_handful_of_labels_stays_near_its_fellows():
    table = small_table(300)
    drop = table.outcomes["model"].eq("dear") & ~table.outcomes["prompt_id"].isin([f"p{i}" for i in range(4)])
    quality, _ = predict(fit(replace(table, outcomes=table.outcomes[~drop].reset_index(drop=True)), QUICK), [MATH])
    assert 0.3 < quality[0, 2] < 0.97


def test_no_latency_head_where_no_latency_was_logged(full):
    assert full.parts.latency is not None
    table = small_table(80)
    outcomes = table.outcomes.assign(latency_ms=np.nan)
    assert fit(replace(table, outcomes=outcomes), QUICK).parts.latency is None


def test_too_few_rows_is_an_error_that_says_how_many_are_missing():
    with pytest.raises(TooFewRows, match="more are needed"):
        fit(small_table(6), QUICK)


def test_prompts_of_any_script_and_none_at_all_are_predicted(full):
    quality, tokens = predict(full, ["", " ", "汉字很多。" * 40, "\ud800", "x" * 9000])
    assert np.isfinite(quality).all()
    assert np.isfinite(tokens).all()


@pytest.mark.realdata
def test_held_out_predictions_beat_each_models_mean_on_a_real_table(shared_data):
    prompts = pd.read_parquet(shared_data / "llmrouter" / "prompts.parquet")
    outcomes = pd.read_parquet(shared_data / "llmrouter" / "outcomes.parquet")
    models = pd.read_parquet(shared_data / "llmrouter" / "models.parquet")
    table = replace(small_table(2), prompts=prompts, outcomes=outcomes, models=models)
    rng = np.random.default_rng(0)
    groups = prompts["group"].unique()
    held = prompts["group"].isin(rng.choice(groups, len(groups) // 5, replace=False)).to_numpy()
    chosen = ~held & (rng.random(len(held)) < 0.4)
    train, test = table.take(chosen), table.take(held)
    quality, _ = predict(fit(train, QUICK), list(test.prompts["text"]))
    truth, means = test.matrix("quality"), np.nanmean(train.matrix("quality"), axis=0)
    assert np.nanmean((quality - truth) ** 2) < 0.9 * np.nanmean((means - truth) ** 2)

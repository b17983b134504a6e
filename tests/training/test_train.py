"""The pipeline on a small table: counts, bundle, report, and that nothing is left behind when a check fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from router_runtime.bundle import open_bundle
from router_runtime.errors import ConfigError, TooFewRows
from tests.training.graph_examples import linear_parts
from tests.training.table_examples import small_table
from training.logged import is_log
from training.run_record import Registered
from training.train import TrainSettings, train, usable_rows


def learn(table, _features):
    return replace(linear_parts(3, 2), models=("cheap", "middle", "dear"))


SETTINGS = TrainSettings(learn=learn, baselines=("task_table",), note="Made up.")


class Store:
    """A version store that keeps what it is given."""

    def __init__(self):
        self.kept = []

    def register(self, name, record, bundle, fingerprint):
        assert fingerprint.startswith(open_bundle(bundle).version)
        assert len(fingerprint) == 64
        self.kept.append((name, record, fingerprint))
        return Registered("run", "1", "champion", "memory")


def as_log(table):
    rng = np.random.default_rng(0)
    outcomes = table.outcomes.groupby("prompt_id").sample(1, random_state=0).reset_index(drop=True)
    return replace(table, outcomes=outcomes.assign(pscore=1 / 3, weight=rng.uniform(0.5, 1, len(outcomes))))


def test_trains_writes_and_registers_one_bundle(tmp_path):
    store = Store()
    done = train(small_table(300), tmp_path / "out", SETTINGS, tracker=store, counts={"rows_rejected": 2})
    assert open_bundle(tmp_path / "out").version == done.bundle.version
    assert done.parity <= 1e-5
    assert done.counts["rows_used"] == 900
    assert done.counts["rows_rejected"] == 2
    (name, record, fingerprint), *more = store.kept
    assert not more
    assert (name, fingerprint[:12]) == ("example", done.bundle.version)
    assert record.metrics["aiq"] == done.report["aiq"]
    assert record.metrics["zero.aiq"] == done.report["baselines"]["zero"]["aiq"]
    assert set(record.tags) == {"data_sha256", "prices_sha256"}
    assert {"frontier.png", "reliability.png"} <= set(record.figures)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert card == record.documents["MODEL_CARD.md"]
    assert "Made up." in card
    manifest = done.bundle.manifest
    assert manifest.training_window["prompts"] == 300
    assert manifest.models[0].details["labels"] == 300


def test_holding_out_every_fold_measures_every_prompt(tmp_path):
    fast = train(small_table(300), tmp_path / "a", SETTINGS, tracker=None)
    every = train(small_table(300), tmp_path / "b", replace(SETTINGS, every_fold=True), tracker=None)
    assert every.report["counts"]["prompts_used"] == 300
    assert 30 < fast.report["counts"]["prompts_used"] < 90


def test_a_failed_check_leaves_the_old_bundle_and_registers_nothing(tmp_path):
    store = Store()
    old = train(small_table(300), tmp_path / "out", SETTINGS, tracker=None)

    def spoilt(table, features):
        parts = learn(table, features)
        return replace(parts, tokens=parts.tokens * np.float32("nan"))

    def at_last(table, features):
        return (spoilt if len(table.prompts) == 300 else learn)(table, features)

    settings = replace(SETTINGS, learn=at_last)
    with pytest.raises(ConfigError, match="tokens holds a value that is not finite"):
        train(small_table(300), tmp_path / "out", settings, tracker=store)
    assert store.kept == []
    assert open_bundle(tmp_path / "out").version == old.bundle.version
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_too_few_rows_say_how_many_are_missing(tmp_path):
    with pytest.raises(TooFewRows, match="30 labelled rows are usable, 20 more are needed"):
        train(small_table(10), tmp_path / "out", SETTINGS, tracker=None)


def test_unlabelled_rows_and_unknown_models_are_counted():
    table = small_table(100)
    table.outcomes.loc[:4, "quality"] = np.nan
    table.outcomes.loc[10:12, "model"] = "stranger"
    usable, _, rows = usable_rows(table, {})
    assert rows["rows_seen"] == 300
    assert rows["rows_dropped_unlabelled"] == 5
    assert rows["rows_dropped_unknown_prompt_or_model"] == 3
    assert rows["rows_used"] == len(usable.outcomes) == 292


def test_a_log_gets_calibration_and_no_comparison(tmp_path):
    log = as_log(small_table(400))
    assert is_log(log)
    assert not is_log(small_table(40))
    done = train(log, tmp_path / "out", SETTINGS, tracker=Store())
    assert "aiq" not in done.report
    assert 0 <= done.report["calibration"]["ece_mean"] <= 1
    assert "only the calibration" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_the_same_input_gives_the_same_bundle(tmp_path):
    one = train(small_table(120), tmp_path / "one", SETTINGS, tracker=None)
    two = train(small_table(120), tmp_path / "two", SETTINGS, tracker=None)
    assert one.bundle.version == two.bundle.version


def test_a_log_of_few_groups_has_fewer_folds_and_one_of_a_single_group_none(tmp_path):
    log = as_log(small_table(400))
    log.prompts["group"] = [f"g{place % 3}" for place in range(len(log.prompts))]
    report = train(log, tmp_path / "few", SETTINGS, tracker=None).report
    assert report["held_out"].startswith("one of 3 folds")
    log.prompts["group"] = "g"
    assert train(log, tmp_path / "one", SETTINGS, tracker=None).report is None


def test_a_log_without_answers_is_told_from_one_without_labels(tmp_path):
    table = as_log(small_table(100))
    unlabelled = replace(table, outcomes=table.outcomes.assign(quality=np.nan))
    with pytest.raises(TooFewRows, match=r"100 prompts, of which 100 were answered; 0 answers have a label"):
        train(unlabelled, tmp_path / "out", SETTINGS, tracker=None)
    with pytest.raises(TooFewRows, match=r"100 prompts, of which 0 were answered"):
        train(replace(table, outcomes=table.outcomes[:0]), tmp_path / "out", SETTINGS, tracker=None)


def test_a_model_that_never_answered_is_no_warning(tmp_path):
    log = as_log(small_table(200))
    never = log.models.assign(model="never", price_in_per_m=np.nan, price_out_per_m=np.nan)[:1]
    log = replace(log, models=pd.concat([log.models, never], ignore_index=True))
    report = train(log, tmp_path / "out", SETTINGS, tracker=None).report
    assert np.isfinite(report["brier_of_model_means"])

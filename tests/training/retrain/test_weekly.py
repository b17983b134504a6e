"""The weekly job: what it promotes, what it keeps, what it refuses, and that it does nothing twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from router_runtime.bundle import CARD, open_bundle
from router_runtime.errors import StoreError, TooFewRows
from tests.training.retrain.weeks import job_of, require_whole, tracker_of, versions, write_log
from training.commands.retrain import outcome_text
from training.retrain.job import Outcome
from training.retrain.state import State
from training.retrain.weekly import preview, retrain


def test_a_first_challenger_is_judged_against_what_was_served_and_promoted(promoted):
    tracker = tracker_of(promoted)
    champion = tracker.version("champion")
    assert (champion.number, champion.tags["retrain_outcome"]) == ("1", "promoted")
    assert tracker.version("challenger") is None
    verdict = json.loads(champion.tags["verdict"])
    assert verdict["against"] == "what was served"
    assert [one["check"] for one in verdict["reasons"] if one["check"] in ("quality", "cost", "speed", "size")] == [
        "quality", "cost", "speed", "size",
    ]  # fmt: skip
    assert champion.tags["bundle_sha256"].startswith(open_bundle(promoted / "served").version)
    assert "## The gate's verdict" in (promoted / "served" / CARD).read_text()
    metrics = tracker._client.get_run(champion.run_id).data.metrics
    assert {"gate.quality.difference.ci_low", "gate.cost_usd.relative_difference.value", "gate.ece"} <= set(metrics)
    (run,) = (path for path in (promoted / "state").iterdir() if path.is_dir())
    assert (run / "report" / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    require_whole(promoted)


def test_the_same_window_makes_no_second_version(promoted, week):
    again = retrain(job_of(week, promoted), tracker_of(promoted))
    assert (again.outcome, again.version, again.repeated, again.exit_code) == ("promoted", "1", True, 0)
    assert len(versions(promoted)) == 1


def test_nor_where_the_state_of_the_first_run_is_lost(promoted, week):
    shutil.rmtree(promoted / "state")
    again = retrain(job_of(week, promoted), tracker_of(promoted))
    assert (again.version, again.repeated) == ("1", True)
    assert len(versions(promoted)) == 1


def test_force_makes_another_version_of_the_same_window(promoted, week):
    assert preview(job_of(week, promoted))["would"].startswith("nothing")
    done = retrain(job_of(week, promoted, force=True), tracker_of(promoted))
    assert (done.version, done.repeated) == ("2", False)
    assert done.verdict["against"] == "version 1"
    require_whole(promoted)


def test_a_challenger_that_is_not_proven_is_kept_back_with_every_reason(kept):
    tracker = tracker_of(kept)
    assert tracker.version("champion").number == "1"
    challenger = tracker.version("challenger")
    assert (challenger.number, challenger.tags["retrain_outcome"]) == ("2", "kept")
    assert "quality: difference" in json.loads(challenger.tags["verdict"])["summary"]
    assert tracker.version("1").tags["bundle_sha256"].startswith(open_bundle(kept / "served").version)


def test_a_deterministic_log_is_refused_and_nothing_serves(tmp_path):
    log = write_log(tmp_path / "log", policy="deterministic")
    done = retrain(job_of(log, tmp_path), tracker_of(tmp_path))
    assert (done.outcome, done.exit_code) == ("refused", 4)
    assert "without chance" in done.verdict["summary"]
    assert not (tmp_path / "served").exists()
    assert tracker_of(tmp_path).version("champion") is None
    assert tracker_of(tmp_path).version("challenger").number == "1"


def test_too_few_labels_say_how_many_are_missing(tmp_path, judged):
    log = write_log(tmp_path / "few", n=120)
    with pytest.raises(TooFewRows, match=r"180 more"):
        retrain(job_of(log, judged), tracker_of(judged))
    assert versions(judged) == []


def test_one_at_a_time(judged, week):
    with State(judged / "state").alone(), pytest.raises(StoreError, match="another retraining"):
        retrain(job_of(week, judged), tracker_of(judged))


def test_a_preview_writes_nothing(tmp_path, week):
    plan = preview(job_of(week, tmp_path))
    assert plan["would"] == "learn and judge a challenger"
    assert plan["decisions"] == 700
    assert list(tmp_path.iterdir()) == []


def test_late_feedback_counts_up_to_the_moment_that_the_window_names(tmp_path):
    log = write_log(tmp_path / "log", delay_hours=48)
    seen = preview(job_of(log, tmp_path))
    early = job_of(log, tmp_path)
    window = type(early.window)(early.window.since, early.window.until, early.window.until)
    less = preview(job_of(log, tmp_path, window=window))
    assert less["decisions"] == seen["decisions"]
    assert less["counts"]["labels.labelled"] < seen["counts"]["labels.labelled"]
    assert less["fingerprint"] != seen["fingerprint"]


@pytest.mark.parametrize(("champion", "said"), [(None, "no version is champion;"), ("1", "the champion is kept;")])
def test_no_champion_is_kept_where_there_is_none(champion, said, tmp_path):
    verdict = {"champion": champion, "reasons": []}
    assert said in outcome_text(Outcome("kept", "2", verdict), tmp_path)


def test_what_an_earlier_run_came_to_is_not_told_as_what_serves_now(tmp_path):
    verdict = {"promote": True, "summary": "", "reasons": []}
    again = Outcome("promoted", "3", verdict, repeated=True)
    assert outcome_text(again, tmp_path) == "this window had its version already: 3 was promoted then"
    assert "is champion and serves" in outcome_text(replace(again, repeated=False), tmp_path)

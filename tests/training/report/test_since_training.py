"""Drift since the bundle was trained: silent where nothing moved, told where it did, and what cannot be compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from router_runtime.features import STRUCTURAL
from router_runtime.manifest import Manifest
from tests.training.table_examples import small_table
from training.cli import main
from training.packaging import training_window
from training.report.reading import read_report_log
from training.report.since_training import since_training


@pytest.fixture(scope="module")
def log(plain_log):
    return read_report_log(plain_log)


def manifest(log, shares=None, medians=None):
    """Of a bundle that learnt from what ``log`` holds, but for the arguments."""
    own = {name: float(share) for name, share in zip(log.label_names, np.bincount(log.label) / len(log), strict=True)}
    numbers = np.median(log.prompts[1], axis=0) if medians is None else medians
    window = {"prompts": 4000, "label_shares": own if shares is None else shares}
    return Manifest(1, 1, (), (), {}, (), tuple(map(float, numbers)), None, {}, window, {}, {}, {})


def test_the_same_requests_have_not_moved(log):
    found = since_training(log, manifest(log))
    assert found["labels"]["verdict"] == "stable"
    assert found["features"]["moved"] == 0
    assert found["lacking"] == []


def test_a_label_that_training_did_not_have_is_told(log):
    shares = {log.label_names[0]: 0.9, "gone": 0.1}
    found = since_training(log, manifest(log, shares))["labels"]
    assert found["verdict"] == "moved far"
    assert {log.label_names[0], "gone"} <= {one["label"] for one in found["moved"]}


def test_prompts_that_grew_longer_are_told_by_their_side(log):
    place = int(np.argmax(log.prompts[1].std(axis=0)))
    medians = np.median(log.prompts[1], axis=0)
    medians[place] = log.prompts[1][:, place].min() - 1.0
    found = since_training(log, manifest(log, medians=medians))["features"]
    assert found["moved"] == 1
    (shift,) = found["shifts"]
    assert (shift["name"], shift["side"], shift["share"]) == (STRUCTURAL[place], "above", 1.0)


def test_what_cannot_be_compared_is_said(log):
    assert "--bundle" in since_training(log, None)["lacking"][0]
    bare = dataclasses.replace(manifest(log, medians=np.zeros(len(STRUCTURAL))), training_window={})
    found = since_training(log, bare)
    assert (found["labels"], found["features"]) == (None, None)
    assert len(found["lacking"]) == 2


def test_training_records_how_its_labels_are_shared_out():
    shares = training_window(small_table(200), {})["label_shares"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


def test_the_page_says_what_moved_since_training(plain_log, bundle_folder, tmp_path):
    assert (
        main(["report", "--log", str(plain_log), "--bundle", str(bundle_folder), "--out", str(tmp_path), "--quiet"])
        == 0
    )
    assert "Against the bundle's training." in (tmp_path / "report.md").read_text()

"""A log says the same to the learner with text, with redacted text or with features alone."""

from contextlib import closing

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from router_runtime import Router
from router_runtime.errors import TooManyBadRows
from router_runtime.features import FEATURES_VERSION, STRUCTURAL, extract
from router_runtime.messages import Request, read_request
from router_runtime.registry_reader import DEFAULT_REGISTRY
from tests.training.table_examples import small_table
from tests.training.test_log_table import decision, good, write
from training.export import export_graph
from training.feature_matrix import featurise
from training.learner import learner
from training.log_features import feature_groups, read_features
from training.log_table import load_log
from training.logged import logged_report
from training.outcome_models import LearnConfig
from training.quality_head import TreeConfig
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

SMALL = LearnConfig(text_rows=300, trees=TreeConfig(rounds=5, threads=1))


def logged(text, version=FEATURES_VERSION):
    found = extract(Request(text))
    return {"version": version, "ids": found.ids.tolist(), "structural": found.structural.tolist()}


def requests(prompts, features, intents=None):
    """The columns that reading a log gives, from lists with None where nothing was logged."""
    names = ("prompt", "intent", "feature_ids", "structural", "counts")
    stored = [None if one is None else one["ids"] for one in features]
    numbers = [None if one is None else one["structural"] for one in features]
    columns = (prompts, intents or [None] * len(prompts), stored, numbers, [None] * len(prompts))
    kinds = (pa.string(), pa.string(), pa.list_(pa.uint16()), pa.list_(pa.float32()), pa.string())
    arrays = [pa.array(column, type=kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(dict(zip(names, arrays, strict=True)))


def same(one, two):
    return np.array_equal(one.ids, two.ids) and np.array_equal(one.structural, two.structural)


def test_a_log_of_text_and_one_of_features_give_the_same_model(tmp_path):
    table, graphs = small_table(120), []
    table.prompts["text"] += " " + pd.Series([f"ask{i}@example.com" for i in range(120)])
    for mode in ("full", "redacted", "features"):
        simulate(table, tmp_path / mode, SimulationSettings(policy="uniform", log_prompts=mode), 600, seed=1)
        log = load_log(tmp_path / mode)
        graphs.append(export_graph(learner(SMALL)(log.table, log.features)))
    assert graphs[0] == graphs[1] == graphs[2]


def test_the_report_of_a_log_is_the_same_with_repeats_unpacked(tmp_path):
    simulate(small_table(60), tmp_path, SimulationSettings(policy="uniform"), 400, seed=2)
    log = load_log(tmp_path)
    parts = learner(SMALL)(log.table, log.features)
    reports = [
        logged_report(log.table, features, lambda _table, _features: parts)
        for features in (log.features, log.features.packed())
    ]
    assert reports[0] == reports[1]
    assert 0 < reports[0]["calibration"]["brier"] < 0.5


def test_logged_features_are_preferred_and_equal_requests_are_kept_once():
    found = read_features(
        requests(
            ["a secret question", "[redacted]", None, "a secret question"],
            [None, logged("a secret question"), logged("something else"), None],
        )
    )
    assert found.code.tolist() == [0, 0, 1, 0]
    assert len(found.distinct) == 2
    assert same(found[1], extract(Request("a secret question")))
    assert same(found[2], extract(Request("something else")))


def test_the_declared_intent_is_part_of_a_request():
    found = read_features(requests(["hi", "hi", "hi"], [None] * 3, ["greet", None, "greet"]))
    assert found.code.tolist() == [0, 1, 0]
    assert same(found[0], extract(Request("hi", intent="greet")))


CONVERSATION = [
    {"role": "system", "content": "Be brief and kind."},
    {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "And what is 2 + 2?"},
]


@pytest.mark.parametrize("kept", ["full", "redacted", "features"])
def test_what_served_is_what_is_learnt_from(tmp_path, kept):
    extra = {"tools": [{"type": "function", "function": {"name": "look"}}], "response_format": {"type": "json_object"}}
    with closing(Router.open(registry=DEFAULT_REGISTRY, log=tmp_path, log_prompts=kept, state_dir=None)) as router:
        router.route(CONVERSATION, **extra)
        router.route("And what is 2 + 2?")
        router.log.flush()
        log = load_log(tmp_path)
    requests = read_request(CONVERSATION, **extra), read_request("And what is 2 + 2?")
    for row, request in enumerate(requests):
        assert same(log.features[row], extract(request))


def test_a_text_that_no_store_holds_is_learnt_as_it_was_served(tmp_path):
    """JSON lets lone surrogates in, and the log keeps them as question marks, which are no parts of words."""
    asked = [("half a smile \ud83d here", None), ("a plain question", "gr\ud800et"), ("été", "été")]
    with closing(Router.open(registry=DEFAULT_REGISTRY, log=tmp_path, log_prompts="full", state_dir=None)) as router:
        kept = [router.route(text, intent=intent).features is not None for text, intent in asked]
        router.log.flush()
        log = load_log(tmp_path)
    assert kept == [True, True, False]
    for row, (text, intent) in enumerate(asked):
        assert same(log.features[row], extract(Request(text, intent=intent)))


def test_counts_of_another_kind_are_rejected_and_unknown_ones_left_out(tmp_path):
    odd = [decision("x", counts={"turns": -1}), decision("y", counts={"turns": 3, "videos": 2, "tools": None})]
    log = load_log(write(tmp_path, [*good(), *odd]))
    assert log.table.report.rejected == {"decision.counts: are below 0": 1}
    assert same(log.features[40], extract(Request("prompt of y", turns=3)))


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (logged("x", version=FEATURES_VERSION + 1), "decision.features: are of another version"),
        ({"ids": [70_000], "structural": [0.0] * len(STRUCTURAL)}, "decision.features: are not hash ids"),
        ({"ids": [1], "structural": [0.5]}, "decision.features: are not hash ids"),
        ({"ids": "many"}, "decision.features: are not hash ids"),
    ],
)
def test_malformed_features_are_rejected(tmp_path, features, reason):
    log = load_log(write(tmp_path, [*good(), decision("x", features=features)]))
    (found,) = log.table.report.rejected
    assert found.startswith(reason)


def test_many_malformed_features_stop_it(tmp_path):
    with pytest.raises(TooManyBadRows, match="decisions: 3 of 43"):
        load_log(write(tmp_path, [*good(), *(decision(f"x{i}", features={"ids": []}) for i in range(3))]))


def test_groups_of_features_join_near_duplicates_only():
    base = "Please write a short story about a river that forgets its own name and meets a bridge at night"
    texts = [base, base.upper() + "!", base.replace("short", "very short"), "What is the capital of France?", "", "?!"]
    found = read_features(requests(texts, [None] * len(texts)))
    groups = feature_groups(found).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] != groups[0]
    assert groups == feature_groups(read_features(requests([None] * 6, [logged(text) for text in texts]))).tolist()


def test_repeated_features_unpack_to_a_row_each():
    found = read_features(requests(["b", "a", "b"], [None] * 3))
    packed, apart = found.take(np.array([2, 1])).packed(), featurise(["b", "a"])
    for member in ("ids", "offsets", "structural"):
        np.testing.assert_array_equal(getattr(packed, member), getattr(apart, member))

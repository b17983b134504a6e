from dataclasses import replace

import lightgbm as lgb
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.errors import ConfigError
from router_runtime.scorer import graph_inputs
from tests.training.graph_examples import fitted_parts, linear_parts, prompts, train_booster
from training.export import export_graph
from training.graph_parts import quantise, row_names
from training.parity import ParityError, candidate_rows, check_parity
from training.trees import convertible, floor_float32

OPERATORS = {
    *("Add", "Cast", "Clip", "Concat", "ConstantOfShape", "Div", "Equal", "Exp", "Gather", "Greater", "Log", "MatMul"),
    *("MatMulInteger", "Mul", "Shape", "Sigmoid", "Softmax", "Split", "Sqrt", "Squeeze", "Sub"),
    *("TreeEnsembleRegressor", "Unsqueeze", "Where"),
}


@pytest.fixture(scope="module")
def features():
    return prompts(300)


@pytest.fixture(scope="module")
def parts(features):
    return fitted_parts(features)


def run(graph, features, models, descriptor, outputs=None):
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feed = graph_inputs(features, models, descriptor)
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def plain_scores(parts, features):
    """The text scores [K] in float64, from their definition."""
    text = parts.text
    summed = text.weights[features.ids].astype(np.float64).sum(axis=0) * text.scale / np.sqrt(len(features.ids) + 1)
    projected = summed if text.projection is None else summed @ text.projection
    return projected + features.structural @ text.dense.astype(np.float64) + text.bias


@pytest.mark.parametrize(
    "shape", [{}, {"low_rank": 4}, {"n_models": 1, "n_domains": 1, "more": 0, "extra": 0}, {"latency": False}]
)
def test_the_graph_predicts_what_lightgbm_predicts(features, shape):
    parts = fitted_parts(features, **shape)
    assert check_parity(parts, export_graph(parts), features, min_rows=300) <= 1e-5


@pytest.mark.parametrize("objective", ["binary", "regression", "cross_entropy"])
def test_objectives_and_boosting_kinds_export(features, objective):
    parts = linear_parts()
    for boosting in ("gbdt", "dart"):
        fitted = replace(parts, booster=train_booster(parts, features, objective=objective, boosting=boosting))
        assert check_parity(fitted, export_graph(fitted), features, min_rows=300) <= 1e-5


def test_without_a_booster_the_linear_score_is_the_logit(features):
    parts = linear_parts()
    assert check_parity(parts, export_graph(parts), features, min_rows=300) <= 1e-5


@pytest.mark.parametrize("low_rank", [None, 4])
def test_rows_are_those_of_the_definition(features, low_rank):
    parts = linear_parts(low_rank=low_rank)
    names, some = row_names(parts), features[:30]
    models = np.array([2, 0, 3])
    descriptor = np.array([[0.9, 0, 0], [0.9, 0, 0], [0.6, 0, 0.8]], dtype=np.float32)
    rows = candidate_rows(parts, some, models, descriptor)
    for prompt, got in zip(some, rows, strict=True):
        scores = plain_scores(parts, prompt)
        domain = np.exp(scores[4:6]) / np.exp(scores[4:6]).sum()
        np.testing.assert_array_equal(got[:, : len(prompt.structural)], np.tile(prompt.structural, (3, 1)))
        np.testing.assert_allclose(got[:, names.index("difficulty")], scores[3], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(got[:, names.index("token_score")], scores[6], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(got[:, names.index("score_0")], scores[7], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(
            got[:, names.index("own")], [scores[2], scores[0], scores[3] + 3 * 0.6 - 1.5], rtol=1e-3, atol=1e-3
        )
        table = parts.quality_table
        np.testing.assert_allclose(got[:, names.index("prior")], [table[2, 0], table[0, 0], 0.6], rtol=1e-6)
        # Of the unknown model only the second domain is declared: its prior stands in for the first.
        np.testing.assert_allclose(
            got[:, names.index("strength")],
            [table[2, 1:] @ domain, table[0, 1:] @ domain, np.array([0.6, 0.8]) @ domain],
            rtol=1e-3,
        )
        np.testing.assert_array_equal(got[:, names.index("extra_0")], parts.extra[[2, 0, 3], 0])


def test_a_blend_is_the_logit_of_the_weighted_mean(features):
    parts = replace(linear_parts(), blend=0.6)
    names = row_names(parts)
    for prompt, got in zip(features[:30], candidate_rows(parts, features[:30]), strict=True):
        quality = 0.6 * got[:, names.index("strength")] + 0.4 * plain_scores(parts, prompt)[:3]
        quality = np.clip(quality, 0.005, 0.995)
        np.testing.assert_allclose(got[:, names.index("own")], np.log(quality / (1 - quality)), atol=2e-3)


def test_a_booster_over_a_blend_keeps_parity(features):
    parts = replace(linear_parts(), blend=0.6, own_weight=1.0)
    parts = replace(parts, booster=train_booster(parts, features))
    assert check_parity(parts, export_graph(parts), features, min_rows=300) <= 1e-5


def test_heads_follow_their_formulas(features):
    parts = linear_parts()
    models, descriptor = np.arange(4), np.full((4, 3), 0.5, dtype=np.float32)
    for prompt in features[:20]:
        got = run(export_graph(parts), prompt, models, descriptor)
        scores = plain_scores(parts, prompt)
        own = np.append(scores[:3], scores[3] + 3 * 0.5 - 1.5)
        slope, offset = parts.calibration.T
        np.testing.assert_allclose(got["quality"], 1 / (1 + np.exp(-(slope * own + offset))), atol=1e-4)
        factor = np.exp(np.clip(parts.tokens[:, 0] * scores[6], -80, 80))
        tokens = np.clip(factor * (parts.tokens[:, 1:] @ got["domain"]), 1, 60_000)
        np.testing.assert_allclose(got["output_tokens"], tokens, rtol=1e-2)
        expected = parts.latency[:, 0] + parts.latency[:, 1] * got["output_tokens"]
        np.testing.assert_allclose(got["latency_ms"], expected, rtol=1e-5)
        assert got["domain"].sum() == pytest.approx(1, abs=1e-5)


def test_no_ids_is_as_good_as_any(parts, features):
    """onnxruntime's MatMulInteger over no rows returns whatever stood in memory: it is never given none."""
    graph, empty = export_graph(parts), features[0]
    assert len(empty.ids) == 0
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    models, descriptor = np.arange(3), np.zeros((3, 3), dtype=np.float32)

    def quality(prompt):
        return session.run(["quality"], graph_inputs(prompt, models, descriptor))[0]

    first = quality(empty)
    for prompt in features[10:60]:
        quality(prompt)
        np.testing.assert_array_equal(quality(empty), first)


@pytest.mark.parametrize("blend", [None, 0.5])
def test_the_export_is_deterministic_and_uses_standard_operators_only(parts, blend):
    parts = replace(parts, blend=blend)
    graph = export_graph(parts)
    assert graph == export_graph(parts)
    model = onnx.load_from_string(graph)
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx.ml"}


@given(st.lists(st.floats(-(2.0**99), 2.0**99), min_size=1), st.floats(-(2.0**99), 2.0**99, width=32))
def test_floored_thresholds_never_flip_a_branch(thresholds, value):
    for wide, narrow in zip(thresholds, floor_float32(thresholds), strict=True):
        assert np.float32(narrow) == narrow
        assert (value <= wide) == (value <= narrow)


def test_converting_keeps_the_raw_scores_bit_for_bit(parts, features):
    rows = candidate_rows(parts, features)
    rows = np.ascontiguousarray(rows.reshape(-1, rows.shape[-1]))
    before = parts.booster.predict(rows, raw_score=True)
    np.testing.assert_array_equal(convertible(parts.booster).predict(rows, raw_score=True), before)


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "averaged forest"),
        ({"linear_tree": True, "objective": "regression"}, "linear leaves"),
        ({"zero_as_missing": True}, "zero_as_missing"),
    ],
)
def test_boosters_that_the_converter_gets_wrong_are_refused(params, what):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4))
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5} | params
    data_params = {key: value for key, value in params.items() if key in ("linear_tree", "zero_as_missing")}
    data = lgb.Dataset(rows, (rows[:, 0] > 0).astype(float), params={"verbose": -1} | data_params)
    with pytest.raises(ConfigError, match=what):
        convertible(lgb.train(settings, data, num_boost_round=3))


def test_categorical_splits_are_refused():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 8, size=(400, 2)).astype(float)
    data = lgb.Dataset(rows, (rows[:, 0] % 2), categorical_feature=[0], params={"verbose": -1, "min_data_per_group": 1})
    booster = lgb.train({"objective": "binary", "verbose": -1, "min_data_per_group": 1, "num_threads": 1}, data, 3)
    with pytest.raises(ConfigError, match="categorical"):
        convertible(booster)


def test_a_graph_of_another_booster_fails_the_gate(parts, features):
    other = replace(parts, booster=train_booster(parts, features, trees=59))
    with pytest.raises(ParityError, match="differs by"):
        check_parity(other, export_graph(parts), features, min_rows=300)


def test_too_few_prompts_cannot_pass_the_gate(parts, features):
    with pytest.raises(ParityError, match="too few"):
        check_parity(parts, export_graph(parts), features[:10])


def test_parts_that_do_not_fit_are_named(parts):
    with pytest.raises(ConfigError, match=r"extra has the shape \(2, 2\)"):
        export_graph(replace(parts, extra=parts.extra[:2]))
    with pytest.raises(ConfigError, match="calibration holds a value that is not finite"):
        export_graph(replace(parts, calibration=np.full_like(parts.calibration, np.nan)))
    with pytest.raises(ConfigError, match="the booster reads"):
        export_graph(replace(parts, extra=np.zeros((4, 7), dtype=np.float32)))
    with pytest.raises(ConfigError, match="too few"):
        export_graph(replace(parts, domains=("a", "b", "c", "d", "e")))


def test_quantising_loses_half_a_step_at_most():
    weights = np.random.default_rng(0).normal(size=(500, 3)) * [1, 100, 0]
    rounded, scale = quantise(weights)
    assert rounded.dtype == np.int8
    assert (np.abs(rounded * scale - weights) <= 0.5001 * scale).all()

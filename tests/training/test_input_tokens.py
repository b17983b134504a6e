"""Prompt tokens: the estimate from logged features, and each provider's factor on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.features import extract
from router_runtime.filters import estimate_tokens
from router_runtime.messages import Request
from training.feature_matrix import featurise
from training.input_tokens import estimated_tokens, input_scales


@given(st.text(max_size=400), st.integers(1, 9), st.integers(0, 9), st.integers(0, 3))
def test_features_tell_what_the_runtime_estimates(text: str, turns: int, tools: int, images: int) -> None:
    request = Request(text, turns=turns, tools=tools, images=images)
    (found,) = estimated_tokens(extract(request).structural[None])
    assert found == pytest.approx(estimate_tokens(request), rel=2e-3, abs=0.05)


def test_a_long_text_is_estimated_by_its_whole_length() -> None:
    request = Request("plain words and more of them. " * 20_000)
    (found,) = estimated_tokens(extract(request).structural[None])
    assert found == pytest.approx(estimate_tokens(request), rel=1e-3)


def test_the_factor_is_right_in_sum() -> None:
    rng = np.random.default_rng(0)
    estimated = rng.uniform(10, 2000, 5000)
    counted = estimated[:, None] * np.array([0.7, 1.0, 1.9]) + rng.normal(0, 5, (5000, 3))
    np.testing.assert_allclose(input_scales(estimated, counted), [0.7, 1.0, 1.9], rtol=0.01)


def test_few_calls_are_shrunk_and_none_say_what_all_say() -> None:
    estimated = np.full(200, 100.0)
    counted = np.full((200, 3), np.nan)
    counted[:, 0] = 150.0
    counted[:2, 1] = 300.0
    scales = input_scales(estimated, counted)
    assert 1.5 < scales[1] < 2.0
    assert scales[2] == pytest.approx(scales[0], rel=0.02)


@pytest.mark.parametrize(("counted", "scale"), [(np.nan, 1.0), (1e6, 4.0), (0.0, 0.25)])
def test_what_cannot_be_a_tokeniser_is_bounded(counted: float, scale: float) -> None:
    estimated = estimated_tokens(featurise(["one two three"] * 30).structural)
    np.testing.assert_allclose(input_scales(estimated, np.full((30, 2), counted)), scale)

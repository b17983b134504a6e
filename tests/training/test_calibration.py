"""Calibration against known truth: lines are recovered, few labels shrink, odd labels leave finite lines."""

import numpy as np
import pytest

from router_runtime.errors import DataError
from training.calibration import MIN_SLOPE, calibrated, fit_calibration
from training.reliability import expected_calibration_error


def draw(n, lines, seed=0, graded=False):
    """Logits [n, M] and labels whose truth is sigmoid(a · logit + b)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.3, 1.5, size=(n, len(lines)))
    truth = calibrated(logits, np.array(lines))
    return logits, truth if graded else (rng.random(truth.shape) < truth).astype(float)


LINES = [(0.5, 0.4), (1.5, -0.7), (1.0, 0.0)]


def test_recovers_each_models_line():
    logits, labels = draw(40_000, LINES)
    fitted = fit_calibration(logits, labels)
    assert fitted.shape == (4, 2)
    np.testing.assert_allclose(fitted[:3], LINES, atol=0.06)


def test_held_out_error_is_small_after_and_large_before():
    fitted = fit_calibration(*draw(5_000, LINES, seed=1))
    logits, labels = draw(20_000, LINES, seed=2)
    raw, after = calibrated(logits, np.array([[1.0, 0.0]] * 3)), calibrated(logits, fitted)
    for model in range(2):
        assert expected_calibration_error(raw[:, model], labels[:, model]) > 0.05
        assert expected_calibration_error(after[:, model], labels[:, model]) < 0.03


def test_few_labels_stay_near_the_shared_line():
    logits, labels = draw(20_000, LINES, seed=3)
    labels[5:, 1] = np.nan
    fitted = fit_calibration(logits, labels)
    far = np.abs(fitted[0] - fitted[-1]).sum()
    assert np.abs(fitted[1] - fitted[-1]).sum() < 0.1 * far


def test_a_model_without_labels_gets_exactly_the_shared_line():
    logits, labels = draw(500, LINES)
    labels[:, 2] = np.nan
    fitted = fit_calibration(logits, labels)
    np.testing.assert_array_equal(fitted[2], fitted[-1])


def test_graded_labels_give_the_same_line_as_drawn_ones():
    graded = fit_calibration(*draw(40_000, LINES, graded=True))
    np.testing.assert_allclose(graded[:3], LINES, atol=0.02)


def test_a_weight_of_two_is_two_rows():
    logits, labels = draw(300, LINES)
    twice = fit_calibration(np.vstack((logits, logits[:50])), np.vstack((labels, labels[:50])))
    weights = np.ones((300, 1))
    weights[:50] = 2.0
    np.testing.assert_allclose(fit_calibration(logits, labels, weights), twice, atol=1e-5)


def test_weight_zero_is_no_label():
    logits, labels = draw(300, LINES)
    weights = np.ones((300, 1))
    weights[200:] = 0.0
    np.testing.assert_allclose(
        fit_calibration(logits, labels, weights), fit_calibration(logits[:200], labels[:200]), atol=1e-6
    )


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_of_one_kind_give_a_finite_line_on_that_side(label):
    logits, _ = draw(200, [(1.0, 0.0)])
    fitted = fit_calibration(logits, np.full_like(logits, label))
    assert np.isfinite(fitted).all()
    mean = calibrated(logits, fitted).mean()
    assert mean > 0.8 if label else mean < 0.2


def test_logits_that_mislead_never_turn_the_order_round():
    logits, labels = draw(5_000, [(-1.0, 0.0)])
    assert fit_calibration(logits, labels)[0, 0] == MIN_SLOPE


def test_no_labels_at_all_is_the_identity():
    fitted = fit_calibration(np.zeros((4, 2)), np.full((4, 2), np.nan))
    np.testing.assert_allclose(fitted, [[1.0, 0.0]] * 3)


def test_huge_logits_do_not_overflow():
    logits, labels = draw(400, LINES)
    fitted = fit_calibration(logits * 1e6, labels)
    assert np.isfinite(fitted).all()
    assert np.isfinite(calibrated(logits * 1e6, fitted)).all()


def test_refuses_labels_outside_the_unit_interval_and_wrong_shapes():
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        fit_calibration(np.zeros((3, 1)), np.full((3, 1), 5.0))
    with pytest.raises(DataError, match="shape"):
        fit_calibration(np.zeros((3, 1)), np.zeros((3, 2)))

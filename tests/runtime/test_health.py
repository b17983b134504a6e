"""Breakers, holds, disablement, and the order of last resort, on a clock that the test turns."""

import numpy as np
import pytest

from router_runtime.breaker import HealthSettings
from router_runtime.health import Health

A, A2, B = ("p", "a"), ("p", "a2"), ("q", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(HealthSettings(open_after=3, probe_interval_s=10, min_calls=10, window_s=60), clock)


def fail(health: Health, target: tuple[str, str], times: int, **how: object) -> None:
    for _ in range(times):
        health.failed(target, **how)  # type: ignore[arg-type]


def test_opens_after_failures_in_a_row_for_that_model_alone(health: Health) -> None:
    fail(health, A, 2)
    assert health.admit(A)
    fail(health, A, 1)
    assert not health.admit(A)
    assert health.mask([A, A2, B]).tolist() == [False, True, True]


def test_provider_failures_close_all_its_models(health: Health) -> None:
    fail(health, A, 3, scope="provider")
    assert health.mask([A, A2, B]).tolist() == [False, False, True]


def test_opens_on_the_error_rate_of_the_window(health: Health) -> None:
    for _ in range(5):
        health.succeeded(A)
        health.failed(A)
    assert not health.admit(A), "half of ten calls failed, never three in a row"


def test_old_calls_leave_the_window(health: Health, clock: Clock) -> None:
    for _ in range(4):
        health.failed(A)
        health.succeeded(A)
    clock.now += 61
    for _ in range(2):
        health.succeeded(A)
    assert health.status()["p/a"].calls == 2
    assert health.status()["p/a"].error_rate == 0.0


def test_one_probe_at_a_time_and_a_good_one_closes(health: Health, clock: Clock) -> None:
    fail(health, A, 3)
    clock.now += 9.9
    assert not health.admit(A)
    clock.now += 0.2
    assert [health.admit(A) for _ in range(5)] == [True, False, False, False, False]
    assert health.status()["p/a"].state == "half_open"
    health.succeeded(A, 5.0)
    assert health.status()["p/a"].state == "closed"
    assert all(health.admit(A) for _ in range(5))


def test_a_failed_probe_closes_the_door_for_a_whole_interval(health: Health, clock: Clock) -> None:
    fail(health, A, 3)
    clock.now += 10.1
    assert health.admit(A)
    health.failed(A)
    clock.now += 9.9
    assert not health.admit(A)
    clock.now += 0.2
    assert health.admit(A)


def test_a_probe_without_a_verdict_is_given_back_or_times_out(health: Health, clock: Clock) -> None:
    fail(health, A, 3)
    clock.now += 10.1
    assert health.admit(A)
    health.released(A)
    assert health.admit(A)
    assert not health.admit(A)
    clock.now += health.settings.probe_timeout_s
    assert health.admit(A)


def test_dead_provider_is_touched_by_few_calls_and_recovers_within_one_interval(health: Health, clock: Clock) -> None:
    touched = 0
    for call in range(1100):
        if health.admit(A):
            touched += call >= 100
            health.failed(A, scope="provider")
        clock.now += 0.1
    assert touched <= 10, "at most one call in a hundred once it is open"
    for _ in range(101):
        clock.now += 0.1
        if health.admit(A):
            health.succeeded(A)
            break
    assert health.admit(A)
    assert health.admit(A)


def test_a_hold_is_kept_to_the_second_without_opening(health: Health, clock: Clock) -> None:
    health.failed(A, hold_s=30, reason="rate limit")
    assert health.status()["p/a"].closed_for_s == pytest.approx(30)
    assert health.status()["p/a"].reason == "rate limit"
    clock.now += 29.9
    assert not health.admit(A)
    assert health.admit(A2)
    clock.now += 0.2
    assert health.admit(A)
    health.failed(A, scope="provider", hold_s=5)
    assert not health.admit(A2)


def test_what_a_provider_asked_for_is_told_from_our_own_holds(health: Health, clock: Clock) -> None:
    health.failed(A, scope="provider", hold_s=60, asked=False, reason="AuthFailed")
    assert health.asked_for(A) == 0
    assert not health.mask([A, A2]).any()
    health.failed(A, hold_s=20, reason="RateLimited")
    assert health.asked_for(A) == pytest.approx(20)
    assert health.asked_for(A2) == 0
    clock.now += 21
    assert health.asked_for(A) == 0


def test_disable_for_a_time_and_enable(health: Health, clock: Clock) -> None:
    health.disable("a", 30)
    health.disable("b")
    assert health.mask([A, A2, B]).tolist() == [False, True, False]
    assert not health.admit(A)
    clock.now += 31
    assert health.mask([A, B]).tolist() == [True, False]
    assert health.disabled() == {"b": float("inf")}
    health.enable("b")
    assert health.admit(B)


def test_scores_fall_with_errors_and_breached_slas(health: Health) -> None:
    assert health.scores([A, B]).tolist() == [1.0, 1.0]
    health.failed(A)
    health.succeeded(B, 2000.0)
    scores = health.scores([A, A2, B], [None, None, 500.0])
    np.testing.assert_allclose(scores, [0.8, 1.0, 0.25])
    assert scores.dtype == np.float32


def test_latency_is_a_moving_mean(health: Health) -> None:
    for latency in (100.0, 200.0):
        health.succeeded(A, latency)
    assert health.status()["p/a"].latency_ms == pytest.approx(120.0)


def test_a_slow_call_is_forgotten_with_its_window(health: Health, clock: Clock) -> None:
    """A model that is left alone for its latency has no call that could show a better one."""
    health.succeeded(A, 30_000.0)
    assert health.scores([A], [1000.0])[0] < 0.1
    clock.now += 60
    assert health.scores([A], [1000.0])[0] == 1.0
    assert health.status()["p/a"].latency_ms is None
    health.succeeded(A, 500.0)
    assert health.status()["p/a"].latency_ms == 500.0, "the mean begins anew"


def test_last_resort_is_soonest_first_and_never_what_a_person_disabled(health: Health) -> None:
    targets = [A, A2, B, ("r", "c")]
    health.failed(A, hold_s=50)
    health.failed(A2, hold_s=20)
    health.failed(B, hold_s=20)
    health.failed(B)
    health.disable("c")
    assert not health.mask(targets).any()
    assert health.last_resort(targets) == [1, 2, 0]
    health.disable("a")
    assert health.last_resort(targets) == [1, 2]

import numpy as np
import pytest

from router_runtime.experiments import share_variance
from training.ope.apart import MIN_SAMPLE, Apart, too_few_apart
from training.ope.compare import compare, compare_segments
from training.ope.estimators import BanditLog

N, EPSILON = 4000, 0.1


def world(share, rewards=None, seed=0):
    """Two models, a log that favours the first; the challenger takes the second on the first ``share`` of the rows."""
    rng = np.random.default_rng(seed)
    logging = np.tile([1 - EPSILON / 2, EPSILON / 2], (N, 1))
    action = (rng.random(N) < EPSILON / 2).astype(np.int64)
    reward = np.ones(N) if rewards is None else (rng.random(N) < np.array(rewards)[action]).astype(float)
    log = BanditLog(action, reward, logging[np.arange(N), action])
    champion = np.tile([1.0, 0.0], (N, 1))
    challenger = np.where((np.arange(N) < share * N)[:, None], [0.0, 1.0], champion)
    return challenger, champion, logging, log


def test_a_few_equal_answers_prove_nothing():
    challenger, champion, _, log = world(0.2)  # all answers are good, and 2 in 100 of the rows tell the two apart
    q_hat = np.ones((N, 2))
    bare, held = (compare(challenger, champion, log, q_hat, share=share).difference for share in (False, True))
    assert bare.ci_high - bare.ci_low < 1e-9
    assert held.policy_value == bare.policy_value
    assert held.ci_low < -0.01
    (segment,) = compare_segments(challenger, champion, log, q_hat, {"all": np.ones(N, dtype=np.bool_)}).values()
    assert segment.ci_low == pytest.approx(held.ci_low)


def test_alike_policies_differ_by_nothing_and_need_no_sample():
    _, champion, logging, log = world(0.0)
    assert compare(champion, champion, log, np.ones((N, 2)), share=True).difference.se == 0
    assert too_few_apart(champion, champion, logging, log) is None


def test_the_floor_leaves_an_interval_with_spread_of_its_own_nearly_as_it_is():
    challenger, champion, _, log = world(1.0, (0.6, 0.5))
    q_hat = np.tile([0.6, 0.5], (N, 1))
    bare, held = (compare(challenger, champion, log, q_hat, share=share).difference for share in (False, True))
    assert bare.se <= held.se < 1.02 * bare.se


def test_with_equal_weights_it_is_the_variance_of_two_shares():
    challenger, champion, _, log = world(0.5, (0.9, 0.8))
    found = Apart.of(challenger, champion, log)
    error = found.least_error(log.reward, np.zeros(N), None)
    parts = []
    for side in (found.gains, found.losses):
        own = log.reward[side > 0]
        parts.append(share_variance(own, np.ones(len(own))))
    assert found.share == 0.5
    assert error == pytest.approx(0.5 * np.sqrt(sum(parts)))


def test_rows_of_one_session_are_one_answer():
    challenger, champion, _, log = world(0.5, (0.9, 0.8))
    rare = np.flatnonzero(log.action == 1)
    session = np.arange(N)
    session[rare] = 0
    together = BanditLog(log.action, log.reward, log.pscore, session)
    found = Apart.of(challenger, champion, log)
    assert found.samples(None)[0] == pytest.approx((found.gains > 0).sum())
    assert found.samples(session)[0] == pytest.approx(1)
    assert (
        compare(challenger, champion, together, np.full((N, 2), 0.8), share=True).difference.se
        > compare(challenger, champion, log, np.full((N, 2), 0.8), share=True).difference.se
    )


def test_too_few_answers_that_tell_them_apart_are_too_few_and_what_would_do_is_said():
    challenger, champion, logging, log = world(0.02)
    held = int((log.action[: int(0.02 * N)] == 1).sum())
    assert 0 < held < MIN_SAMPLE
    said = too_few_apart(challenger, champion, logging, log)
    assert f"only the challenger would have given there the log holds as many as {held} rated ones" in said
    assert "choose apart in 2 % of 4,000 decisions" in said
    assert "where 15 are needed: about 15,000 decisions" in said
    assert "only the other side would have given" in too_few_apart(champion, challenger, logging, log)
    assert too_few_apart(*world(0.5)) is None


def test_none_at_all_is_too_few_too():
    challenger, champion, logging, log = world(1 / N)
    log.action[0], log.pscore[0] = 0, 1 - EPSILON / 2
    assert "as many as 0 rated ones" in too_few_apart(challenger, champion, logging, log)
    assert compare(challenger, champion, log, np.ones((N, 2)), share=True).difference.se > 0


def test_a_sample_just_too_small_is_not_rounded_up_to_what_is_needed(monkeypatch):
    challenger, champion, logging, log = world(0.02)
    monkeypatch.setattr(Apart, "samples", lambda _self, _cluster: (MIN_SAMPLE - 0.4, 40.0))
    assert "as many as 14 rated ones, where 15 are needed" in too_few_apart(challenger, champion, logging, log)

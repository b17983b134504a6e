import numpy as np
import pytest

from router_runtime.errors import NotSupported
from tests.training.ope.bandits import Bandit
from training.ope.estimators import BanditLog
from training.ope.exploration import expected_ess, remedy
from training.ope.support import SupportBounds, check_support, propensity_z, require_support

BANDIT = Bandit.make()


def refuse(policy, logging, log, segments=None, bounds=None):
    found = check_support(policy, logging, log, segments, bounds)
    require_support(found, policy, logging, log, bounds)
    return found


def test_deterministic_logs_are_always_refused():
    for seed in range(20):
        logging = BANDIT.epsilon(0.0)
        log, rows = BANDIT.draw(logging, 2000, seed)
        with pytest.raises(
            NotSupported, match=r"\(all decisions\): 100 % of its 2,000 choices .* without chance; .*ε"
        ) as caught:
            refuse(BANDIT.greedy()[rows], logging[rows], log)
        assert "\n" not in str(caught.value)


def test_a_deterministic_log_is_no_evidence_even_of_itself():
    logging = BANDIT.epsilon(0.0)
    log, rows = BANDIT.draw(logging, 500, seed=1)
    with pytest.raises(NotSupported, match="without chance"):
        refuse(logging[rows], logging[rows], log)


def test_a_model_that_was_never_drawn_is_no_overlap():
    logging = BANDIT.epsilon(0.5)
    logging[:, 3] = 0.0
    logging /= logging.sum(axis=1, keepdims=True)
    log, rows = BANDIT.draw(logging, 3000, seed=2)
    policy = np.tile([0.0, 0.0, 0.2, 0.8], (3000, 1))
    with pytest.raises(NotSupported, match="never makes 80 % of the choices"):
        refuse(policy, logging[rows], log)


def test_the_segment_without_overlap_is_named():
    logging = BANDIT.epsilon(0.5)
    rows = np.arange(4000)
    tier = np.where(rows < 400, "enterprise", "free")
    logging[:400] = [1.0, 0.0, 0.0, 0.0]
    action = (logging.cumsum(axis=1) > np.random.default_rng(3).random(4000)[:, None]).argmax(axis=1)
    log = BanditLog(action, np.ones(4000), logging[rows, action])
    policy = np.tile([0.0, 1.0, 0.0, 0.0], (4000, 1))
    with pytest.raises(NotSupported, match="segment tier=enterprise") as caught:
        refuse(policy, logging, log, {"tier": tier})
    assert caught.value.segment == "tier=enterprise"


def test_too_small_an_effective_sample_is_refused_with_the_remedy():
    logging = BANDIT.epsilon(0.02)
    log, rows = BANDIT.draw(logging, 500, seed=4)
    with pytest.raises(
        NotSupported, match=r"weigh as much as \d+ \(the floor is 50\); exploration with ε ≥ 0\.\d+"
    ) as caught:
        refuse(BANDIT.greedy()[rows], logging[rows], log)
    epsilon = float(str(caught.value).split("ε ≥ ")[1].split(" ")[0])
    again = BANDIT.epsilon(epsilon)
    supported = 0
    for seed in range(20):
        log, rows = BANDIT.draw(again, 500, seed)
        found = check_support(BANDIT.greedy()[rows], again[rows], log)
        supported += found[0].ess > 40
    assert supported >= 16  # the remedy is one that works


def test_supported_logs_pass_and_report_their_segments():
    logging, refused = BANDIT.epsilon(0.3), 0
    for seed in range(60):
        log, rows = BANDIT.draw(logging, 2000, seed)
        domain = np.where(BANDIT.features[rows, 1] > 0, "law", "code")
        try:
            found = refuse(BANDIT.greedy()[rows], logging[rows], log, {"domain": domain})
        except NotSupported:
            refused += 1
            continue
        assert [part.segment for part in found] == ["all", "domain=code", "domain=law"]
        assert sum(part.n for part in found[1:]) == found[0].n
    assert refused == 0


def test_a_small_segment_is_reported_but_does_not_refuse_the_whole():
    logging = BANDIT.epsilon(0.5)
    log, rows = BANDIT.draw(logging, 2000, seed=5)
    domain = np.where(np.arange(2000) < 20, "rare", "common")
    found = {part.segment: part for part in refuse(BANDIT.greedy()[rows], logging[rows], log, {"domain": domain})}
    assert found["all"].supported
    assert not found["domain=rare"].supported
    assert "the floor is 50" in (found["domain=rare"].reason or "")


def test_false_propensities_are_recognised():
    claimed, real = BANDIT.epsilon(0.2), BANDIT.epsilon(0.0)
    log, rows = BANDIT.draw(real, 2000, seed=6)
    lying = BanditLog(log.action, log.reward, claimed[rows, log.action])
    with pytest.raises(NotSupported, match="propensities are not those"):
        refuse(claimed[rows], claimed[rows], lying)
    honest, rows = BANDIT.draw(claimed, 2000, seed=6)
    assert propensity_z(claimed[rows], honest) < 4


def test_bounds_are_stated_not_fixed():
    logging = BANDIT.epsilon(0.1)
    log, rows = BANDIT.draw(logging, 300, seed=7)
    policy = BANDIT.greedy()[rows]
    refuse(policy, logging[rows], log, bounds=SupportBounds(min_ess=1.0))
    with pytest.raises(NotSupported, match="the floor is 5000"):
        refuse(policy, logging[rows], log, bounds=SupportBounds(min_ess=5000.0))


def test_expected_ess_by_hand():
    policy, logging = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    assert expected_ess(policy, logging, 0.5, n=100) == pytest.approx(25.0)  # w = 4 on a quarter of the rows
    policy, logging = np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert expected_ess(policy, logging, 0.5, n=100) == pytest.approx(100 / ((1 / 0.75 + 1 / 0.25) / 2))


def test_a_log_of_one_model_is_asked_for_a_second_not_for_exploration():
    only = np.tile([1.0, 0.0], (20, 1))
    assert "one model" in remedy(only, only, 50.0)
    assert "ε" not in remedy(only, only, 50.0)


def test_a_log_that_explores_more_than_the_remedy_is_asked_for_more_of_the_same():
    """Without a favourite ε has no meaning: a uniform log was told that fewer decisions at ε = .05 would do."""
    policy, uniform = np.tile([0.0, 0.0, 0.0, 1.0], (40, 1)), np.full((40, 4), 0.25)
    assert remedy(policy, uniform, 50.0).endswith("too few: 200 decisions logged as these were would do")
    assert remedy(policy, uniform, 9.0).endswith("some more decisions logged as these were would do")
    greedy = np.tile([0.97, 0.01, 0.01, 0.01], (40, 1))
    assert "logged with ε = 0.05 would do" in remedy(policy, greedy, 50.0)

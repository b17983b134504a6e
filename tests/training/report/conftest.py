"""Simulated logs whose truth is known."""

import pytest

from tests.training.table_examples import small_table
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

TABLE = small_table(400)


def simulated(folder, n=4000, seed=0, **changes):
    """Writes a log of 14 days; gives the truth about it."""
    plain = {"days": 14, "prediction_noise": 0.02, "epsilon": 0.2, "cost_weight": 0.3, "session_length": 2.0}
    return simulate(TABLE, folder, SimulationSettings(**{**plain, **changes}), n, seed)


@pytest.fixture(scope="session")
def held_log(tmp_path_factory):
    """A log with a baseline arm, a weak spot and outages."""
    folder = tmp_path_factory.mktemp("logs") / "held"
    simulated(folder, 8000, 5, holdout_model="dear", holdout_share=0.2, weak_spot=WEAK, weak_by=0.8, outage_share=0.02)
    return folder


@pytest.fixture(scope="session")
def plain_log(tmp_path_factory):
    """A log without a baseline arm."""
    folder = tmp_path_factory.mktemp("logs") / "plain"
    simulated(folder, 4000, 6)
    return folder


WEAK = "middle@math/sums"

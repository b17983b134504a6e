"""A week's log, and houses at several points of its retraining, made once and copied for each test."""

from __future__ import annotations

import shutil

import pytest

from tests.training.retrain.weeks import HOPELESS, job_of, tracker_of, write_log
from training.retrain.weekly import retrain


class Stopped(Exception):
    """Ends a run before a step."""


def stop_at(step):
    def observe(seen):
        if seen == step:
            raise Stopped(step)

    return observe


@pytest.fixture(scope="session")
def week(tmp_path_factory):
    """A uniform week's log. Read only."""
    return write_log(tmp_path_factory.mktemp("week") / "log")


@pytest.fixture(scope="session")
def judged_house(week, tmp_path_factory):
    """A run that stopped before it registered anything."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.raises(Stopped):
        retrain(job_of(week, folder), tracker_of(folder), observe=stop_at("register"))
    return folder


@pytest.fixture
def judged(judged_house, tmp_path):
    """A copy of it."""
    return shutil.copytree(judged_house, tmp_path / "house")


@pytest.fixture(scope="session")
def promoted_house(judged_house, week, tmp_path_factory):
    """Version 1 is champion and serves."""
    folder = tmp_path_factory.mktemp("promoted") / "house"
    shutil.copytree(judged_house, folder)
    assert retrain(job_of(week, folder), tracker_of(folder)).outcome == "promoted"
    return folder


@pytest.fixture
def promoted(promoted_house, tmp_path):
    """A copy of it."""
    return shutil.copytree(promoted_house, tmp_path / "house")


@pytest.fixture(scope="session")
def kept_house(promoted_house, week, tmp_path_factory):
    """Beside it version 2, which its verdict did not let through."""
    folder = tmp_path_factory.mktemp("kept") / "house"
    shutil.copytree(promoted_house, folder)
    done = retrain(job_of(week, folder, HOPELESS), tracker_of(folder))
    assert (done.outcome, done.version, done.exit_code) == ("kept", "2", 3)
    return folder


@pytest.fixture
def kept(kept_house, tmp_path):
    """A copy of it."""
    return shutil.copytree(kept_house, tmp_path / "house")

"""kill -9 at each step: what is left is whole, and the next run finishes it with one version."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from router_runtime.bundle import open_bundle
from tests.training.retrain.weeks import STEPS, job_of, require_whole, tracker_of, versions
from training.retrain.weekly import retrain

ROOT = Path(__file__).resolve().parents[3]


def command(log, house, step):
    return [sys.executable, "-m", "tests.training.retrain.weeks", str(log), str(house), step]


def kill_at(log, house, step):
    done = subprocess.run(command(log, house, step), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def require_finished(log, house):
    """After the next run there is one version, it is champion, and it is what serves."""
    require_whole(house)
    done = retrain(job_of(log, house), tracker_of(house))
    assert done.outcome == "promoted"
    assert len(versions(house)) == 1
    champion = tracker_of(house).version("champion")
    assert champion.number == done.version
    assert champion.tags["bundle_sha256"].startswith(open_bundle(house / "served").version)
    tracker = tracker_of(house)
    assert list(tracker._client.search_runs([tracker._experiment], "attributes.status = 'RUNNING'")) == []
    require_whole(house)


@pytest.mark.parametrize("step", ["registered", "serve"])
def test_a_run_that_was_killed_is_finished_by_the_next(judged, week, step):
    kill_at(week, judged, step)
    require_finished(week, judged)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_each_step(tmp_path, week, step):
    kill_at(week, tmp_path, step)
    require_finished(week, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_kill_at_any_moment_again_and_again(judged, week, seed):
    rng = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen(command(week, judged, "never"), cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(2.0, 12.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        require_whole(judged)
    require_finished(week, judged)

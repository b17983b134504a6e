"""What killed runs leave behind goes, what lives or is somebody else's stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import install_bundle
from router_runtime.errors import StoreError
from tests.training.retrain.weeks import job_of, tracker_of
from training.retrain.state import State
from training.retrain.weekly import retrain
from training.scratch import PREFIX, scratch

OLD, NEW, AGAIN = "0" * 16, "1" * 16, f"{'1' * 16}-2"


def test_the_lock_removes_half_written_files(tmp_path):
    state = State(tmp_path)
    run = state.start(OLD, 1)
    (tmp_path / ".promotion.json.77.tmp").write_text("{")
    (run.folder / ".held_out.77.tmp").write_text("x")
    run.write("verdict", {})
    with state.alone():
        assert [path.name for path in run.folder.iterdir()] == ["verdict.json"]
        assert not list(tmp_path.glob(".*"))


def test_but_not_those_of_a_live_run(tmp_path):
    state = State(tmp_path)
    with state.alone():
        (state.start(OLD, 1).folder / ".held_out.77.tmp").write_text("x")
        with pytest.raises(StoreError, match="another retraining"), State(tmp_path).alone():
            pass
        assert (tmp_path / OLD / ".held_out.77.tmp").exists()


def test_a_sweep_leaves_folders_that_are_no_runs(tmp_path):
    state = State(tmp_path)
    kept = state.start(NEW, 1)
    state.start(NEW, 2)
    state.start(OLD, 1)
    other = tmp_path / "notebooks"
    other.mkdir()
    assert {run.key for run in state.sweep(kept)} == {OLD, AGAIN}
    assert {path.name for path in tmp_path.iterdir()} == {kept.key, other.name}


def test_an_unfinished_run_of_another_window_ends_in_mlflow_too(promoted, week):
    tracker, stale = tracker_of(promoted), "f" * 16
    State(promoted / "state").start(stale, 1)
    client = tracker._client
    left = client.create_run(tracker._experiment, tags={"retrain_run": stale}).info.run_id
    other = client.create_run(tracker._experiment, tags={"retrain_run": "elsewhere"}).info.run_id
    assert retrain(job_of(week, promoted), tracker).repeated
    assert not (promoted / "state" / stale).exists()
    assert [client.get_run(one).info.status for one in (left, other)] == ["KILLED", "RUNNING"]


def test_a_killed_install_leaves_nothing_for_long(promoted):
    script = (
        "import os, signal, sys; from router_runtime import bundle_writer\n"
        "bundle_writer._put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "bundle_writer.install_bundle(sys.argv[1], sys.argv[2])"
    )
    served, place = promoted / "served", promoted / "other" / "served"
    done = subprocess.run([sys.executable, "-c", script, str(served), str(place)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(place.parent.iterdir())) == 1
    install_bundle(served, place)
    assert [path.name for path in place.parent.iterdir()] == ["served"]
    open_bundle(place)


def test_scratch_of_killed_commands_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / f"{PREFIX}abcdefgh"
    dead.mkdir()
    (dead / "prompts").write_text("secret")
    with scratch() as mine:
        assert list(tmp_path.iterdir()) == [mine]
        assert os.stat(mine).st_mode & 0o777 == 0o700
    assert not mine.exists()

"""Temporary folders: those of the dead go, those of the living stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from router_runtime.held_folders import held_folder, sweep_dead

_HOLD = """
import sys, time
from pathlib import Path
from router_runtime.held_folders import held_folder
with held_folder(Path(sys.argv[1]), ".made-") as folder:
    (folder / "file").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def holder(place):
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_of_the_living_stays_and_that_of_a_killed_one_goes(tmp_path):
    process = holder(tmp_path)
    with process.stdout:
        sweep_dead(tmp_path, ".made-")
        (live,) = tmp_path.iterdir()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert live.is_dir()
    with held_folder(tmp_path, ".made-") as mine:
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_names_are_not_touched(tmp_path):
    for name in (".made-short", ".made-", ".made-12345678x", "made-12345678", ".made2-12345678"):
        (tmp_path / name).mkdir()
    (tmp_path / ".made-abcdefgh").write_text("a file")
    sweep_dead(tmp_path, ".made-")
    assert len(list(tmp_path.iterdir())) == 6


def test_many_makers_at_once_keep_theirs(tmp_path):
    lost = []

    def make():
        for _ in range(50):
            with held_folder(tmp_path, ".made-") as mine:
                (mine / "file").write_text("whole")
                if not (mine / "file").exists():
                    lost.append(mine)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert list(tmp_path.iterdir()) == []

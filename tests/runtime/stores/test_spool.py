"""The spool: durable at each append, one writer, sealed only when its writer is gone."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from router_runtime.errors import ConfigError, StoreError
from router_runtime.records import Attempt, Feedback
from router_runtime.stores import spool as spool_module
from router_runtime.stores.base import Row, to_row
from router_runtime.stores.opening import open_store
from router_runtime.stores.spool import Spool, claim, read_spool, remove_spool, spool_files
from tests.forked import in_child, living_child

WRITER = """
import sys
from router_runtime.outcome_log import OutcomeLog
from router_runtime.records import Attempt
from router_runtime.stores.opening import open_store
from router_runtime.stores.spool import Spool
log = OutcomeLog(Spool(sys.argv[1], rotate_rows=50))
for index in range(1_000_000):
    log.append(Attempt(decision_id=f"{sys.argv[2]}-{index}", index=0, time=1.0, model="m", provider="p"))
    sys.stdout.write(f"{sys.argv[2]}-{index}\\n")
    sys.stdout.flush()
"""


def row(key: str) -> Row:
    return Row(key, "feedback", f"d-{key}", 1.5, "{}")


def test_rows_come_back_in_order_once_each(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("a"), row("b")])
    spool.append([row("b"), row("c")])
    (path,) = spool_files(tmp_path)
    assert [r.id for r in read_spool(path)] == ["a", "b", "c"], "readable while open, repeated keys stored once"
    spool.close()
    assert list(read_spool(path)) == [row("a"), row("b"), row("c")]


def test_rotates_and_lets_a_sealer_take_closed_files_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path, rotate_rows=2)
    for key in "abc":
        spool.append([row(key)])
    closed, current = spool_files(tmp_path)
    with claim(closed) as free:
        assert free
        remove_spool(closed)
    with claim(current) as free:
        assert not free
    spool.close()
    with claim(current) as free:
        assert free
    assert spool_files(tmp_path) == [current]


def test_a_file_of_long_prompts_is_closed_sooner(tmp_path: Path) -> None:
    spool = Spool(tmp_path, rotate_characters=10)
    for key in "abc":
        spool.append([Row(key, "decision", key, 1.5, "12345")])
    first, _ = spool_files(tmp_path)
    assert [r.id for r in read_spool(first)] == ["a", "b"]
    spool.close()


@pytest.mark.parametrize("spell", [str, Path, lambda path: f"dir://{path}"])
def test_stores_open_by_folder_or_url(tmp_path: Path, spell: Callable[[Path], str | Path]) -> None:
    store = open_store(spell(tmp_path / "a log"))
    store.append([row("a")])
    store.close()
    assert len(spool_files(tmp_path / "a log")) == 1


@pytest.mark.parametrize("url", ["dir://host/path", "ftp:///x", "dir://"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="dir:///path"):
        open_store(url)


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("a")])
    assert {os.stat(p).st_mode & 0o077 for p in spool_files(tmp_path)} == {0}
    spool.close()


def test_an_unwritable_place_is_a_store_error_and_the_next_append_works(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    spool = Spool(tmp_path)
    with pytest.raises(StoreError, match="cannot append"):
        spool.append([row("a")])
    (tmp_path / "spool").unlink()
    spool.append([row("a")])
    assert len(list(read_spool(spool_files(tmp_path)[0]))) == 1
    spool.close()


def test_an_append_that_fails_on_a_new_file_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stays full gathered a file for each commit."""
    spool = Spool(tmp_path)
    for name, broken in (("_TABLE", "no SQL"), ("_INSERTS", {1: "no SQL"})):
        with monkeypatch.context() as full:
            full.setattr(spool_module, name, broken)
            with pytest.raises(StoreError, match="cannot append"):
                spool.append([row("a")])
        assert list(spool.folder.iterdir()) == []
    spool.append([row("a")])
    with monkeypatch.context() as full:
        full.setattr(spool_module, "_INSERTS", {1: "no SQL"})
        with pytest.raises(StoreError, match="cannot append"):
            spool.append([row("b")])
    assert [r.id for path in spool_files(tmp_path) for r in read_spool(path)] == ["a"]


def test_what_is_no_spool_is_refused(tmp_path: Path) -> None:
    bad, odd = tmp_path / "x.sqlite", tmp_path / "y.sqlite"
    bad.write_bytes(b"not a database, but long enough to be looked at" * 50)
    with closing(sqlite3.connect(odd)) as db, db:
        db.execute("CREATE TABLE events AS SELECT 1 AS seq, 'a' AS id, 'k' AS kind, 'd' AS decision_id, 1.5 AS time,"
                   " CAST(x'ff' AS TEXT) AS body")  # fmt: skip
    for path in (bad, odd):
        with pytest.raises(StoreError, match="not a readable spool"):
            list(read_spool(path))


def test_a_spool_whose_writer_died_at_its_birth_is_empty(tmp_path: Path) -> None:
    born = tmp_path / "x.sqlite"
    born.touch()
    assert list(read_spool(born)) == []


def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("parent")])
    in_child(lambda: spool.append([row("child")]))
    spool.append([row("after")])
    spool.close()
    found = sorted([r.id for r in read_spool(path)] for path in spool_files(tmp_path))
    assert found == [["child"], ["parent", "after"]]


def test_a_child_that_lives_on_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("a")])
    held, claimed = spool_files(tmp_path)[0], tmp_path / "spool" / "0.sqlite"
    claimed.touch()
    with ExitStack() as stack:
        with claim(claimed) as free:
            assert free
            stack.enter_context(living_child())
        spool.close()
        for path in (held, claimed):
            with claim(path) as free:
                assert free


def test_rows_carry_kind_and_join_key() -> None:
    attempt = Attempt(decision_id="d1", index=0, time=2.0, model="m", provider="p")
    assert (to_row(attempt, "k").kind, to_row(attempt, "k").decision_id) == ("attempt", "d1")
    with pytest.raises(ValueError, match="JSON"):
        to_row(Feedback("d1", 1.0, "thumbs", float("nan")), "k")


def _kill_loop(root: Path, rounds: int) -> None:
    rng = random.Random(7)
    acknowledged: set[str] = set()
    for number in range(rounds):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), f"r{number}"], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged.add(writer.stdout.readline().strip())
        time.sleep(rng.random() * 0.2)
        writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().split("\n")
        acknowledged.update(line for line in lines[:-1])
        writer.wait()
        writer.stdout.close()
    stored = [r for path in spool_files(root) for r in read_spool(path)]
    assert acknowledged <= {r.decision_id for r in stored}
    assert len({r.decision_id for r in stored}) == len(stored), "nothing twice"
    for path in spool_files(root):
        with claim(path) as free:
            assert free, "the kernel freed the dead writers' locks"


def test_kill_9_loses_no_acknowledged_event(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 3)


@pytest.mark.slow
def test_kill_9_fifty_times_loses_no_acknowledged_event(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 50)

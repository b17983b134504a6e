"""The outcome log never blocks the call, counts what it drops, and falls back."""

import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from router_runtime.errors import StoreError
from router_runtime.outcome_log import LogStats, OutcomeLog
from router_runtime.records import Attempt, Decision, Feedback, LateText, TaskProfile
from router_runtime.stores.base import Row
from router_runtime.stores.spool import Spool, read_spool, spool_files
from tests.conftest import ROOT
from tests.forked import in_child


class Memory:
    """A store that can be held shut or broken."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.batches: list[int] = []
        self.broken = False
        self.open = threading.Event()
        self.open.set()
        self.closed = False

    def append(self, rows: Sequence[Row]) -> None:
        assert self.open.wait(10)
        if self.broken:
            raise StoreError("the disk is full")
        self.batches.append(len(rows))
        self.rows.extend(rows)

    def close(self) -> None:
        self.closed = True


def attempt(number: int) -> Attempt:
    return Attempt(decision_id=f"d{number}", index=0, time=1.0, model="m", provider="p")


def decision(number: int, prompt: str | LateText) -> Decision:
    choice = (f"d{number}", 1.0, "m", 1.0, (), {}, TaskProfile(), "balanced", "1", "b", "p")
    return Decision(*choice, prompt=prompt)


def test_offered_events_arrive_in_order_in_few_batches() -> None:
    store = Memory()
    log = OutcomeLog(store)
    assert all(log.offer(attempt(n)) for n in range(1000))
    assert log.flush()
    assert [r.decision_id for r in store.rows] == [f"d{n}" for n in range(1000)]
    assert len({r.id for r in store.rows}) == 1000
    assert len(store.batches) < 100
    assert log.stats == LogStats(written=1000)
    log.close()
    assert store.closed


def test_append_returns_after_the_store_did() -> None:
    store = Memory()
    log = OutcomeLog(store)
    log.append(attempt(1))
    assert [r.decision_id for r in store.rows] == ["d1"]
    log.close()


def test_a_full_queue_drops_and_counts_and_never_blocks() -> None:
    store = Memory()
    store.open.clear()
    log = OutcomeLog(store, capacity=10, batch=1, linger_s=0)
    taken = sum(log.offer(attempt(n)) for n in range(100))
    assert taken in (10, 11), "ten wait, one may be in the thread's hands"
    assert log.stats.dropped == 100 - taken
    assert not log.flush(0.01)
    store.open.set()
    assert log.flush()
    assert len(store.rows) == taken
    log.close()


def test_what_waits_is_bounded_in_bytes_too() -> None:
    """Ten thousand decisions may keep ten thousand long prompts."""
    store = Memory()
    store.open.clear()
    log = OutcomeLog(store, capacity_bytes=1_000_000, batch=1, linger_s=0)
    texts = "x" * 400_000, LateText(lambda: "short", holds=400_000)
    taken = sum(log.offer(decision(n, texts[n % 2])) for n in range(20))
    assert taken in (2, 3), "two wait, one may be in the thread's hands"
    assert log.stats.dropped == 20 - taken
    assert log.offer(attempt(1)), "there is room for a small one"
    store.open.set()
    assert log.flush()
    assert log.offer(decision(9, "x" * 2_000_000)), "where nothing waits, one of any size is taken"
    log.close()


def test_large_events_are_written_in_small_batches() -> None:
    store = Memory()
    log = OutcomeLog(store)
    with log._state:
        assert all(log.offer(decision(n, "x" * 1_500_000)) for n in range(8))
    assert log.flush()
    assert store.batches == [3, 3, 2]
    log.close()


def test_a_store_that_takes_long_to_fail_is_left_alone_as_long() -> None:
    now, spare = [0.0], Memory()
    tried = []

    class Hanging(Memory):
        def append(self, rows: Sequence[Row]) -> None:
            tried.append(now[0])
            now[0] += 6.0
            raise StoreError("no answer")

    log = OutcomeLog(Hanging(), fallback=spare, timer=lambda: now[0])
    for _ in range(10):
        log.append(attempt(1))
        now[0] += 1.0
    assert tried == [0.0, 12.0]
    assert log.stats == LogStats(fallback=10)
    log.close()


def test_catching_up_lets_new_events_pass() -> None:
    """An outbox of an hour's outage is sent in portions; what comes meanwhile waits for one of them."""
    store, seen, done = Memory(), [], threading.Event()

    def catch_up() -> Iterator[int]:
        for portion in range(6):
            seen.append(len(store.rows))
            if portion == 3:
                log.offer(attempt(2))
            yield 1
        done.set()

    log = OutcomeLog(store, fallback=Memory(), recovered=catch_up)
    log.append(attempt(1))
    assert done.wait(10), "no further event is needed"
    assert seen == [1, 1, 1, 1, 2, 2]
    log.close()


@pytest.mark.parametrize("error", [StoreError("away again"), OSError("the outbox is not ours")])
def test_catching_up_that_fails_begins_anew_when_the_store_answers_again(error: Exception) -> None:
    store, steps = Memory(), []

    def catch_up() -> Iterator[int]:
        steps.append(len(store.rows))
        yield 1
        if len(steps) == 1:
            raise error

    log = OutcomeLog(store, fallback=Memory(), recovered=catch_up)
    for n in range(3):
        log.append(attempt(n))
    log.close()
    assert steps[0] == 1
    assert len(steps) == 2


def test_what_was_offered_last_is_written_where_nobody_closes_the_log(tmp_path: Path) -> None:
    code = """
import sys
from router_runtime import Router
router = Router.open(state_dir=None, log=sys.argv[1])
for number in range(5):
    router.route(f"hello {number}")
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT)
    assert len([row for path in spool_files(tmp_path) for row in read_spool(path)]) == 5


def test_a_forked_child_leaves_what_waits_to_its_parent(tmp_path: Path) -> None:
    log = OutcomeLog(Spool(tmp_path), linger_s=60.0)
    log.append(attempt(0))
    for n in range(1, 4):
        log.offer(attempt(n))

    def work() -> None:
        assert log.stats == LogStats()
        log.append(attempt(9))
        log.close()

    in_child(work)
    log.close()
    rows = [row.decision_id for path in spool_files(tmp_path) for row in read_spool(path)]
    assert sorted(rows) == ["d0", "d1", "d2", "d3", "d9"]


def test_a_child_that_is_forked_within_a_commit_can_write() -> None:
    """A lock that the parent's thread held would never be released there."""
    store, inside = Memory(), threading.Event()

    class Slow(Spool):
        def _open(self) -> sqlite3.Connection:
            inside.set()
            assert store.open.wait(10)
            return super()._open()

    with tempfile.TemporaryDirectory() as folder:
        log = OutcomeLog(Slow(folder))
        store.open.clear()
        log.offer(attempt(0))
        assert inside.wait(10)
        in_child(lambda: (store.open.set(), log.append(attempt(1))))
        store.open.set()
        log.close()
        assert len([row for path in spool_files(folder) for row in read_spool(path)]) == 2


def test_the_fallback_takes_over_and_the_store_is_tried_again() -> None:
    store, spare = Memory(), Memory()
    log = OutcomeLog(store, fallback=spare)
    store.broken = True
    log.append(attempt(1))
    store.broken = False
    log.append(attempt(2))
    assert [r.decision_id for r in spare.rows] == ["d1"]
    assert [r.decision_id for r in store.rows] == ["d2"]
    assert log.stats == LogStats(written=1, fallback=1)
    log.close()
    assert spare.closed


def test_without_a_fallback_append_says_so_and_offer_counts() -> None:
    store = Memory()
    store.broken = True
    log = OutcomeLog(store)
    with pytest.raises(StoreError, match="disk is full"):
        log.append(attempt(1))
    assert log.offer(attempt(2))
    assert log.flush()
    assert log.stats == LogStats(dropped=2)
    log.close()


def test_append_gives_up_in_time() -> None:
    store = Memory()
    store.open.clear()
    log = OutcomeLog(store)
    with pytest.raises(StoreError, match="within"):
        log.append(attempt(1), timeout_s=0.01)
    store.open.set()
    log.close()


def test_an_event_that_is_not_json_does_not_stop_the_others() -> None:
    store = Memory()
    log = OutcomeLog(store)
    assert log.offer(Feedback("d0", 1.0, "thumbs", 1.0, meta={"x": object()}))
    log.append(attempt(1))
    with pytest.raises(StoreError, match="not JSON"):
        log.append(Feedback("d2", 1.0, "thumbs", float("nan")))
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"in": deep}
    with pytest.raises(StoreError, match="not JSON"):
        log.append(Feedback("d3", 1.0, "thumbs", 1.0, meta=deep))
    assert [r.decision_id for r in store.rows] == ["d1"]
    assert log.stats == LogStats(written=1, dropped=3)
    log.close()


def test_several_events_are_durable_together_or_say_so() -> None:
    store = Memory()
    log = OutcomeLog(store, batch=2)
    log.append(*(attempt(n) for n in range(5)))
    assert [r.decision_id for r in store.rows] == [f"d{n}" for n in range(5)]
    with pytest.raises(StoreError, match="not JSON"):  # the last batch's commit says nothing of the first one's
        log.append(Feedback("odd", 1.0, "thumbs", 1.0, meta={"x": object()}), *(attempt(n) for n in range(4)))
    assert log.stats == LogStats(written=9, dropped=1)
    log.close()


def test_a_driver_that_fails_oddly_does_not_end_the_thread() -> None:
    store, spare = Memory(), Memory()
    odd = ["a driver's own error"]

    class Odd(Memory):
        def append(self, rows: Sequence[Row]) -> None:
            if odd:
                raise LookupError(odd.pop())
            store.append(rows)

    log = OutcomeLog(Odd(), fallback=spare)
    log.append(attempt(1))
    log.append(attempt(2))
    assert [[r.decision_id for r in one.rows] for one in (spare, store)] == [["d1"], ["d2"]]
    assert log.flush()
    log.close()


def test_closed_means_closed() -> None:
    log = OutcomeLog(Memory())
    log.offer(attempt(1))
    log.close()
    log.close()
    assert not log.offer(attempt(2))
    with pytest.raises(StoreError, match="closed"):
        log.append(attempt(3))


def test_a_lone_surrogate_stops_nothing(tmp_path):
    """No store can hold one, and a prompt may carry one."""
    log = OutcomeLog(Spool(tmp_path))
    log.append(Feedback("d", 1.0, "thumbs", 1.0, meta={"said": "汉 \ud800"}), Feedback("\ud800\0", 1.0, "thumbs", 1.0))
    log.close()
    row, odd = (row for path in spool_files(tmp_path) for row in read_spool(path))
    assert json.loads(row.body)["meta"] == {"said": "汉 ?"}
    assert odd.decision_id == "?\ufffd", "no store holds a NUL either"

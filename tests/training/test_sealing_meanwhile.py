"""A log is read whole and each event once while spools are sealed and old days are deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable

import duckdb
import pytest

from router_runtime.errors import DataError
from router_runtime.gateway.ui_log import opened
from router_runtime.records import uuid7
from router_runtime.stores.base import to_row
from router_runtime.stores.reading import read_events
from router_runtime.stores.seal import forget, seal
from router_runtime.stores.spool import Spool
from tests.training.test_log_table import TIME, attempt, decision, good, thumbs, write
from training import event_log, log_events
from training.log_table import load_log


def spooled(root):
    spool = Spool(root)
    spool.append([to_row(event, uuid7()) for event in good()])
    spool.close()
    return root


def meanwhile(monkeypatch, module, name: str, act: Callable[[], object]):
    """Lets ``act`` happen just before the function is called for the first time."""
    real, done = getattr(module, name), []

    def called(*arguments):
        if not done:
            done.append(act())
        return real(*arguments)

    monkeypatch.setattr(module, name, called)


@pytest.mark.parametrize("moment", [(log_events, "spooled_events"), (log_events, "sealed_files")])
def test_a_spool_that_is_sealed_while_the_log_is_listed_is_read_once(tmp_path, monkeypatch, moment):
    write(tmp_path, [decision("old"), attempt("old"), thumbs("old", 1.0)])
    spooled(tmp_path)
    meanwhile(monkeypatch, *moment, lambda: seal(tmp_path))
    log = load_log(tmp_path)
    assert len(log.decisions) == log.labels.counts["labelled"] == 41
    assert log.table.report.skipped == {}


def test_a_spool_that_goes_before_it_is_opened_is_read_where_it_went(tmp_path, monkeypatch):
    spooled(tmp_path)
    from router_runtime.stores import reading

    meanwhile(monkeypatch, reading, "read_spool", lambda: seal(tmp_path))
    assert len(load_log(tmp_path).decisions) == 40


@pytest.mark.parametrize("moment", [(log_events, "_require_schema"), (log_events, "_parse")])
def test_a_day_that_is_deleted_meanwhile_is_left_out(tmp_path, monkeypatch, moment):
    new = [decision("new", time=TIME + 86_400), attempt("new"), thumbs("new", 1.0)]
    write(tmp_path, [*good(), *new])
    meanwhile(monkeypatch, *moment, lambda: forget(tmp_path, TIME + 86_400))
    assert load_log(tmp_path).decisions["decision_id"].tolist() == ["new"]


def test_where_every_day_is_deleted_meanwhile_nothing_is_left(tmp_path, monkeypatch):
    write(tmp_path, good())
    meanwhile(monkeypatch, log_events, "_parse", lambda: forget(tmp_path, TIME + 9e5))
    with pytest.raises(DataError, match="holds no log"):
        load_log(tmp_path)


def test_another_fault_of_the_database_is_told(tmp_path, monkeypatch):
    def fails():
        raise duckdb.IOException("disk")

    write(tmp_path, good())
    meanwhile(monkeypatch, log_events, "_parse", fails)
    with pytest.raises(DataError, match="disk"):
        load_log(tmp_path)


def counted_by_training(root):
    with log_events.checked_log(root) as log:
        return log.report.seen, log.report.used


def counted_by_stores(root):
    ids = [row.id for row in read_events(root)]
    return len(ids), len(set(ids))


def counted_by_the_dashboard(root):
    with opened(root, 0.0) as db:
        return db.execute("SELECT count(*), count(DISTINCT decision_id) FROM narrow_decision").fetchone()


@pytest.mark.parametrize("count", [counted_by_training, counted_by_stores, counted_by_the_dashboard])
def test_writers_and_sealers_at_work_neither_hide_nor_double_an_event(tmp_path, count):
    written, over = [0], threading.Event()

    def write_on():
        spool = Spool(tmp_path, rotate_rows=3)
        while not over.is_set():
            spool.append([to_row(decision(uuid7()), uuid7())])
            written[0] += 1
        spool.close()

    def seal_on():
        while not over.is_set():
            seal(tmp_path)

    threads = [threading.Thread(target=work) for work in (write_on, seal_on)]
    for thread in threads:
        thread.start()
    try:
        while written[0] < 20:
            pass
        for _ in range(15):
            at_least = written[0]
            seen, used = count(tmp_path)
            assert seen == used
            assert seen >= at_least
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert event_log.sealed_files(tmp_path)

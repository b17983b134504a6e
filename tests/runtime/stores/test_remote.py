"""The contract of remote stores, on the real engines: ClickHouse's (embedded, through chDB) and PostgreSQL's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from router_runtime.errors import ConfigError, StoreError
from router_runtime.outcome_log import OutcomeLog, open_log
from router_runtime.records import Feedback
from router_runtime.stores.base import RemoteStore, Row
from router_runtime.stores.forward import forward
from router_runtime.stores.opening import local_folder, open_store
from router_runtime.stores.spool import Spool, spool_files

DAY_S = 86_400.0


def row(key: str, when: float = 1.0, body: str = "{}") -> Row:
    return Row(key, "feedback", f"d-{key}", when, body)


def clickhouse(folder: Path) -> RemoteStore:
    clickhouse_connect = pytest.importorskip("clickhouse_connect")
    pytest.importorskip("chdb")
    from router_runtime.stores.clickhouse import ClickHouseStore

    return ClickHouseStore(lambda: clickhouse_connect.get_client(dsn=f"chdb://{folder}/engine"))


@pytest.fixture(params=["clickhouse", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RemoteStore]:
    if request.param == "clickhouse":
        made = clickhouse(tmp_path)
    else:
        made = open_store(request.getfixturevalue("postgres_url"))
    yield made
    made.close()


def keys(store: RemoteStore, since: float = float("-inf"), batch: int = 10_000) -> list[str]:
    return [one.id for part in store.read(since, batch) for one in part]


def test_what_was_appended_is_read_in_order_of_time(store: RemoteStore) -> None:
    rows = [row("b", 5 * DAY_S, '{"text":"汉字 \\\\ \\"quoted\\" \\u0000"}'), row("a", 2.5), row("c", 9 * DAY_S)]
    store.append(rows)
    store.append([row("d", 7 * DAY_S)])
    found = [one for part in store.read() for one in part]
    assert found == [rows[1], rows[0], row("d", 7 * DAY_S), rows[2]]
    assert keys(store, since=7 * DAY_S) == ["d", "c"]


def test_an_event_that_comes_twice_counts_once(store: RemoteStore) -> None:
    store.append([row("a"), row("b")])
    store.append([row("b"), row("c")])
    assert sorted(keys(store)) == ["a", "b", "c"]


def test_many_rows_come_in_portions(store: RemoteStore) -> None:
    store.append([row(f"{n:04d}", float(n)) for n in range(2500)])
    assert keys(store, batch=100) == [f"{n:04d}" for n in range(2500)]


def test_several_threads_may_append_at_once(store: RemoteStore) -> None:
    def work(name: str) -> None:
        for n in range(5):
            store.append([row(f"{name}-{n}")])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(keys(store)) == sorted(f"{name}-{n}" for name in "abcd" for n in range(5))


def test_a_closed_store_opens_again(store: RemoteStore) -> None:
    store.append([row("a")])
    store.close()
    store.close()
    store.append([row("b")])
    assert sorted(keys(store)) == ["a", "b"]


def test_a_spool_is_forwarded_once_and_goes(store: RemoteStore, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "outbox", rotate_rows=3)
    for n in range(7):
        spool.append([row(f"{n}")])
    assert forward(tmp_path / "outbox", store) == 6, "the last spool is still open"
    assert len(spool_files(tmp_path / "outbox")) == 1
    spool.close()
    assert forward(tmp_path / "outbox", store) == 1
    assert sorted(keys(store)) == [f"{n}" for n in range(7)]
    assert spool_files(tmp_path / "outbox") == []


class Away:
    """A store that can be away."""

    def __init__(self, inner: RemoteStore) -> None:
        self.inner, self.away = inner, True

    def append(self, rows: list[Row]) -> None:
        if self.away:
            raise StoreError("away")
        self.inner.append(rows)

    def close(self) -> None:
        self.inner.close()


def test_what_was_acknowledged_while_the_store_was_away_gets_there(store: RemoteStore, tmp_path: Path) -> None:
    away, spare = Away(store), Spool(tmp_path / "outbox")

    def catch_up() -> None:
        spare.close()
        forward(tmp_path / "outbox", away)

    log = OutcomeLog(away, fallback=spare, recovered=catch_up, linger_s=0)
    for n in range(3):
        log.append(Feedback(f"d{n}", float(n), "thumbs", 1.0))
    assert log.stats.fallback == 3
    assert keys(store) == []
    away.away = False
    log.append(Feedback("d3", 3.0, "thumbs", 1.0))
    assert log.flush()
    log.close()
    assert [one.decision_id for part in store.read() for one in part] == ["d0", "d1", "d2", "d3"]
    assert spool_files(tmp_path / "outbox") == []


def test_an_id_of_any_characters_is_stored(store: RemoteStore) -> None:
    log = OutcomeLog(store, linger_s=0)
    log.append(Feedback("a\0b", 1.0, "thumbs", 1.0), Feedback("\ud800", 2.0, "thumbs", 1.0, meta={"nul": "\0"}))
    assert log.stats.written == 2
    log.close()


def test_a_server_that_is_not_there_costs_the_caller_nothing(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    log = open_log("postgresql://nobody:hunter2@127.0.0.1:9/none", tmp_path)
    log.append(Feedback("d", 1.0, "thumbs", 1.0))
    assert log.stats.fallback == 1
    log.close()


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@127.0.0.1:9/db", "clickhouse://u:hunter2@127.0.0.1:9/db"])
def test_a_failure_is_named_without_the_password(url: str) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("clickhouse_connect")
    store = open_store(url)
    with pytest.raises(StoreError, match="did not take 1 events") as caught:
        store.append([row("a")])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot be read"):
        list(store.read())


@pytest.mark.parametrize(
    ("place", "expected"), [("logs", Path("logs")), ("dir:///a%20b", Path("/a b")), ("postgresql://h/db", None)]
)
def test_urls(place: str, expected: Path | None) -> None:
    assert local_folder(place) == expected


@pytest.mark.parametrize("place", ["dir://host/path", "mysql://h/db", "dir://"])
def test_urls_that_are_no_store(place: str) -> None:
    with pytest.raises(ConfigError, match="use a folder, dir:///path"):
        open_store(place)

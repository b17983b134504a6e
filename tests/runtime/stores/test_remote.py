"""The contract of remote stores, on the real engines: ClickHouse's (embedded, through chDB) and PostgreSQL's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from router_runtime.errors import ConfigError, StoreError
from router_runtime.outcome_log import OutcomeLog, open_log
from router_runtime.records import Feedback
from router_runtime.stores import postgres
from router_runtime.stores.base import RemoteStore, Row
from router_runtime.stores.forward import forward
from router_runtime.stores.opening import address_of, local_folder, open_store
from router_runtime.stores.postgres import PostgresStore
from router_runtime.stores.spool import Spool, spool_files
from tests.postgres_server import stopped

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
    assert list(forward(tmp_path / "outbox", store)) == [3, 3], "the last spool is still open"
    assert len(spool_files(tmp_path / "outbox")) == 1
    spool.close()
    assert list(forward(tmp_path / "outbox", store)) == [1]
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

    def catch_up() -> Iterator[int]:
        spare.close()
        return forward(tmp_path / "outbox", away)

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


def test_a_spool_that_cannot_be_read_holds_up_no_other(
    store: RemoteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "abc":
        spool = Spool(tmp_path)
        spool.append([row(key)])
        spool.close()
    damaged, foreign, _ = spool_files(tmp_path)
    damaged.write_bytes(bytes(8192))
    foreign.with_suffix(".lock").unlink()
    foreign.with_suffix(".lock").mkdir()  # as good as one of another user, which root could open
    assert list(forward(tmp_path, store)) == [1]
    assert keys(store) == ["c"]
    assert spool_files(tmp_path) == [damaged, foreign], "they may still be mended by hand"
    assert f"events stay behind: {damaged}" in caplog.text
    assert f"events stay behind: {foreign}: cannot be claimed" in caplog.text


def test_an_empty_database_has_no_events_and_is_left_empty(postgres_url: str) -> None:
    reader = open_store(postgres_url)
    assert keys(reader) == []
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regclass('pointsman_events')").fetchone() == (None,)


def test_roles_that_may_only_write_or_read_do(postgres_url: str) -> None:
    """A reader of a standby can make no table either."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        own = open_store(postgres_url)
        own.append([row("a")])
        own.close()
        for role, rights in (("writer", "INSERT, SELECT"), ("reader", "SELECT")):
            connection.execute(f"CREATE ROLE {role} LOGIN")
            connection.execute(f"GRANT {rights} ON pointsman_events TO {role}")
        connection.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        try:
            writer, reader = (open_store(postgres_url.replace("tests@", f"{role}@")) for role in ("writer", "reader"))
            writer.append([row("b")])
            writer.close()
            assert keys(reader) == ["a", "b"]
        finally:
            connection.execute("DROP OWNED BY writer, reader")
            connection.execute("DROP ROLE writer, reader")


def test_a_server_that_hangs_leaves_the_events_to_the_fallback(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_GRACE_S", 0.1)
    store, spare = PostgresStore(postgres_url, statement_timeout_s=0.2), Spool(tmp_path)

    def catch_up() -> Iterator[int]:
        spare.close()
        return forward(tmp_path, store)

    now = [0.0]
    log = OutcomeLog(store, fallback=spare, recovered=catch_up, timer=lambda: now[0])
    log.append(Feedback("d0", 0.0, "thumbs", 1.0))
    with stopped(urlsplit(postgres_url).port or 0):
        log.append(Feedback("d1", 1.0, "thumbs", 1.0))
        assert (log.stats.written, log.stats.fallback) == (1, 1)
    log.append(Feedback("d2", 2.0, "thumbs", 1.0))
    log.close()
    assert [one.decision_id for part in store.read() for one in part] == ["d0", "d1", "d2"]


def test_an_id_of_any_characters_is_stored(store: RemoteStore) -> None:
    log = OutcomeLog(store, linger_s=0)
    log.append(Feedback("a\0b", 1.0, "thumbs", 1.0), Feedback("\ud800", 2.0, "thumbs", 1.0, meta={"nul": "\0"}))
    assert log.stats.written == 2
    log.close()


def test_a_server_that_is_not_there_costs_the_caller_nothing(tmp_path: Path) -> None:
    log = open_log("postgresql://nobody:hunter2@127.0.0.1:9/none", tmp_path)
    log.append(Feedback("d", 1.0, "thumbs", 1.0))
    assert log.stats.fallback == 1
    log.close()


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@127.0.0.1:9/db", "clickhouse://u:hunter2@127.0.0.1:9/db"])
def test_a_failure_is_named_without_the_password(url: str) -> None:
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


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("postgresql://u:p@Host/db?sslmode=require", "postgresql://host:None/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql://None:None/db"),
        ("postgresql://u@a:5432,b:5433/db", "postgresql://a:5432,b:5433/db"),
    ],
)
def test_a_store_is_known_by_its_address(url: str, same: str) -> None:
    assert address_of(url) == same


@pytest.mark.parametrize(
    "rest",
    [
        "u:hunter2/x@h:1/db", "u:12/x@h:1/db", "u:hunter2@x@h/db", "u:12#hunter2@h/db",
        "hunter2:99999/db", "[hunter2/db", "hunter2:1,h:x/db",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["postgresql", "clickhouse"])
def test_an_address_that_is_none_is_told_without_showing_it(scheme: str, rest: str) -> None:
    with pytest.raises(ConfigError, match="in a user and a password, write @") as caught:
        open_store(f"{scheme}://{rest}")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("place", ["dir://host/path", "mysql://h/db", "dir://"])
def test_urls_that_are_no_store(place: str) -> None:
    with pytest.raises(ConfigError, match="use a folder, dir:///path"):
        open_store(place)

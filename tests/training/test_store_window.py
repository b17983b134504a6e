"""Any store reads like a folder."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from router_runtime.errors import DataError, StoreError
from router_runtime.stores.base import COLUMNS, Row
from tests.training.table_examples import small_table
from training.event_log import sealed_files
from training.log_table import load_log
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings
from training.store_window import copy_events, local_log


def rows_of(folder: Path) -> list[Row]:
    tables = [pq.read_table(file, partitioning=None) for file in sealed_files(folder)]
    return [Row(**one) for table in tables for one in table.select(list(COLUMNS)).to_pylist()]


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    for place in (tmp_path, str(tmp_path), f"dir://{tmp_path}"):
        with local_log(place) as folder:
            assert folder == tmp_path


def test_a_copy_reads_like_the_log_that_it_was_taken_from(tmp_path: Path) -> None:
    simulate(small_table(60), tmp_path / "log", SimulationSettings(days=3), 400, seed=1)
    rows = sorted(rows_of(tmp_path / "log"), key=lambda row: row.time)
    portions = (rows[start : start + 70] for start in range(0, len(rows), 70))
    assert copy_events(portions, tmp_path / "copy") == len(rows)
    assert rows_of(tmp_path / "copy") == rows
    first, second = load_log(tmp_path / "log"), load_log(tmp_path / "copy")
    assert first.counts() == second.counts()
    assert first.table.outcomes.equals(second.table.outcomes)


def test_a_store_that_is_away_is_named() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="PostgreSQL cannot be read"), local_log("postgresql://127.0.0.1:9/none"):
        raise AssertionError("the block must not run")


@pytest.mark.parametrize("since", [None, 2.0])
def test_a_remote_store_is_copied_for_as_long_as_the_block_runs(postgres_url: str, since: float | None) -> None:
    from router_runtime.stores.opening import open_remote

    store = open_remote(postgres_url)
    store.append([Row(f"e{n}", "feedback", "d", float(n), "{}") for n in range(4)])
    store.close()
    with local_log(postgres_url, since) as folder:
        assert [row.id for row in rows_of(folder)] == [f"e{n}" for n in range(int(since or 0), 4)]
    assert not folder.exists()


def test_a_remote_store_with_nothing_in_the_window_says_so(postgres_url: str) -> None:
    with pytest.raises(DataError, match="no events from 2096-10-02 on"), local_log(postgres_url, 4e9):
        raise AssertionError("the block must not run")

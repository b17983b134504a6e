"""The sealer: all rows once, whatever dies meanwhile, in the layout that training reads."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router_runtime.stores import seal as seal_module
from router_runtime.stores.base import Row
from router_runtime.stores.seal import forget, read_sealed, seal
from router_runtime.stores.spool import Spool, spool_files

pq = pytest.importorskip("pyarrow.parquet", reason="the store extra is not installed")
DAY_S = 86_400.0


def row(key: str, when: float = 1.0) -> Row:
    return Row(key, "feedback", f"d-{key}", when, "{}")


def sealed_ids(root: Path) -> list[str]:
    files = sorted(root.glob("day=*/*.parquet"))
    return [key for file in files for key in pq.ParquetFile(file).read().column("id").to_pylist()]


def test_a_closed_spool_becomes_a_file_for_each_day(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("b", DAY_S + 1), row("a", 5.0), row("c", DAY_S + 2)])
    (name,) = (path.stem for path in spool_files(tmp_path))
    assert seal(tmp_path).open_spools == 1, "its writer lives"
    spool.close()
    report = seal(tmp_path)
    assert report.rows == 3
    assert [str(file.relative_to(tmp_path)) for file in report.files] == [
        f"day=1970-01-01/{name}.parquet",
        f"day=1970-01-02/{name}.parquet",
    ]
    assert sealed_ids(tmp_path) == ["a", "b", "c"]
    assert list((tmp_path / "spool").iterdir()) == []
    assert seal(tmp_path).rows == 0


def test_the_half_file_of_a_killed_sealer_goes(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("a", 5.0)])
    spool.close()
    (name,) = (path.stem for path in spool_files(tmp_path))
    day = tmp_path / "day=1970-01-01"
    day.mkdir()
    (day / f".{name}.parquet.77.tmp").write_text("half")
    assert seal(tmp_path).rows == 1
    assert [path.name for path in day.iterdir()] == [f"{name}.parquet"]


def test_days_that_are_over_are_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("a", 5.0), row("b", DAY_S + 1), row("c", 2 * DAY_S + 1)])
    spool.close()
    seal(tmp_path)
    assert forget(tmp_path, DAY_S - 1) == []
    assert [day.name for day in forget(tmp_path, 2 * DAY_S + 50)] == ["day=1970-01-01", "day=1970-01-02"]
    assert sealed_ids(tmp_path) == ["c"]
    assert forget(tmp_path / "none", DAY_S) == []


def test_a_spool_is_closed_by_age(tmp_path: Path) -> None:
    spool = Spool(tmp_path, rotate_s=0.0)
    spool.append([row("a")])
    assert seal(tmp_path).rows == 1
    spool.append([row("b")])
    assert seal(tmp_path).rows == 1
    spool.close()


def test_training_reads_what_was_sealed(tmp_path: Path) -> None:
    event_log = pytest.importorskip("training.event_log", reason="the training extra is not installed")
    spool = Spool(tmp_path)
    spool.append([row("a")])
    spool.close()
    (file,) = seal(tmp_path).files
    assert event_log.sealed_files(tmp_path) == [file]
    assert pq.ParquetFile(file).schema_arrow.equals(event_log.EVENT_SCHEMA)


def test_a_broken_spool_stays_and_stops_nobody(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([row("a")])
    spool.close()
    broken = tmp_path / "spool" / "0-broken.sqlite"
    broken.write_bytes(b"no database" * 1000)
    foreign = tmp_path / "spool" / "1-foreign.sqlite"
    foreign.touch()
    foreign.with_suffix(".lock").mkdir()  # as good as one of another user, which root could open
    report = seal(tmp_path)
    assert list(report.failed) == [broken, foreign]
    assert sealed_ids(tmp_path) == ["a"]
    assert broken.exists()


def test_events_of_any_time_are_sealed_in_its_order(tmp_path: Path) -> None:
    """Milliseconds in the place of seconds are in the year 58,000; they stopped the sealing of everything."""
    spool = Spool(tmp_path)
    spool.append([row("c", 1.8e12), row("b", 5.0), row("a", -1e18), row("d", float("inf"))])
    spool.close()
    report = seal(tmp_path)
    assert report.failed == {}
    assert [file.parent.name for file in report.files] == ["day=0001-01-01", "day=1970-01-01", "day=9999-12-31"]
    assert sealed_ids(tmp_path) == ["a", "b", "c", "d"]
    assert [one.id for one in read_sealed(tmp_path, since=10.0)] == ["c", "d"]


def test_a_spool_is_sealed_in_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_module, "_CHARACTERS", 20)
    spool = Spool(tmp_path)
    spool.append([Row(f"{n}", "decision", "d", 1.0, "0123456789") for n in range(7)])
    spool.close()
    (file,) = seal(tmp_path).files
    groups = pq.ParquetFile(file).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [2, 2, 2, 1]
    assert sealed_ids(tmp_path) == [f"{n}" for n in range(7)]


def test_a_spool_that_breaks_off_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([Row("a", "decision", "d", 1.0, "x" * 100_000), Row("b", "decision", "d", 2.0, "y" * 100_000)])
    spool.close()
    (path,) = spool_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"y" * 1000)])
    assert list(seal(tmp_path).failed) == [path]
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.parent.name != "spool"] == []


def _kill_loop(root: Path, rounds: int) -> None:
    """Sealers are killed at random while they work on closed spools; every row must come out once."""
    rng, rows = random.Random(5), 0
    for number in range(rounds):
        spool = Spool(root, rotate_rows=20)
        for index in range(60):
            spool.append([row(f"{number}-{index}", rng.random() * 3 * DAY_S)])
            rows += 1
        spool.close()
        code = "import sys; from router_runtime.stores.seal import seal; print(flush=True); seal(sys.argv[1])"
        sealer = subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE)
        assert sealer.stdout is not None
        sealer.stdout.readline()
        time.sleep(rng.random() * 0.3)
        sealer.send_signal(signal.SIGKILL)
        sealer.wait()
        sealer.stdout.close()
    report = seal(root)
    assert report.failed == {}
    assert len(sealed_ids(root)) == len(set(sealed_ids(root))) == rows
    assert spool_files(root) == []


def test_kill_9_of_the_sealer_neither_loses_nor_doubles(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 2)


@pytest.mark.slow
def test_kill_9_of_the_sealer_thirty_times(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 30)

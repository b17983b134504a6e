"""What a budget costs a call: ``python -m tests.benchmarks.bench_budgets [--out DIR]``.

Reserves and settles in a budget file as the engine does, and asks what is left as a decision does, on the event loop's
thread: alone, and beside three threads that write all the time. Beside it, in the same run: one row read from a bare
SQLite file, and one row committed to it (WAL, synchronous=FULL), whose fsync is the disk's.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np

from router_runtime.budgets import Budgets, Limit

LIMITS = [Limit("tier:free", "day", usd=Decimal(1_000_000)), Limit("user:ann", "day", usd=Decimal(1_000_000))]
WRITERS = 3


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the report")
    parser.add_argument("--repeats", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out) as folder:  # on a disk: a fsync in memory says nothing
        found = measure(Path(folder), args.repeats)
    if args.out is not None:
        (args.out / "budgets.json").write_text(json.dumps(found, indent=1) + "\n")
    bare = found["bare read"]["p50_ms"]
    for name, row in found.items():
        times = row["p50_ms"] / bare
        print(f"{name:28} p50 {row['p50_ms']:8.3f} ms   p99 {row['p99_ms']:8.3f} ms   {times:7.1f} x a read")


def measure(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds by what is done."""
    found = {}
    with closing(sqlite3.connect(folder / "bare.sqlite", isolation_level=None)) as bare:
        bare.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (k PRIMARY KEY, v)")
        bare.execute("INSERT INTO t VALUES (1, 0)")
        found["bare read"] = timed(lambda: bare.execute("SELECT v FROM t WHERE k = 1").fetchone(), repeats)
        found["bare commit"] = timed(lambda: bare.execute("UPDATE t SET v = v + 1 WHERE k = 1"), repeats)
    budgets = Budgets(folder / "budgets.sqlite")

    def spend() -> None:
        budgets.settle(budgets.reserve(LIMITS, 0.0001, 100), 0.00005, 90)

    found["reserve and settle"] = timed(spend, repeats)
    found["what is left"] = timed(lambda: budgets.headroom(LIMITS), repeats)
    with writing(spend):
        found[f"what is left, {WRITERS} writers"] = timed(lambda: budgets.headroom(LIMITS), repeats, pause_s=0.0005)
    budgets.close()
    return found


@contextmanager
def writing(spend: Callable[[], None]) -> Iterator[None]:
    """Spends in threads for as long as the block runs."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            spend()

    threads = [threading.Thread(target=work) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def timed(work: Callable[[], object], repeats: int, pause_s: float = 0.0) -> dict[str, float]:
    """Median and 99th percentile in ms."""
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        took.append((time.perf_counter() - started) * 1e3)
        if pause_s:
            time.sleep(pause_s)
    p50, p99 = np.percentile(took, [50, 99])
    return {"p50_ms": round(float(p50), 4), "p99_ms": round(float(p99), 4)}


if __name__ == "__main__":
    main()

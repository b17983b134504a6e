"""The outcome log is off the request's path: the gateway's p99 while its store is stopped, beside p99 while it runs.

``python -m tests.benchmarks.bench_log_stall [--rounds N] [--out DIR]`` starts a PostgreSQL (the store that can be
stopped as a process: the usual folder store has none), the scripted upstream and the gateway with
``--log postgresql://…``. Rounds with the server's processes stopped (SIGSTOP) and running take turns. At the end the
server runs, and every event that the gateway was given must be in the store: it waited in the queue or in the outbox.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg

from tests.benchmarks.bench_gateway import gateway, summary, timed, upstream
from tests.postgres_server import postgres_server, stopped

CALLS, AT_ONCE = 400, 10


async def measure(url: str, port: int, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Rounds by what the store did."""
    found: dict[str, list[dict[str, Any]]] = {"running": [], "stopped": []}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await timed(session, url, False, CALLS, AT_ONCE)
        for _ in range(rounds):
            found["running"].append(await timed(session, url, False, CALLS, AT_ONCE))
            with stopped(port):
                found["stopped"].append(await timed(session, url, False, CALLS, AT_ONCE))
            await asyncio.sleep(1.0)
    return found


def counts(url: str) -> dict[str, float]:
    """What ``/metrics`` says of the log."""
    with urllib.request.urlopen(f"{url}/metrics") as page:
        lines = page.read().decode().splitlines()
    words = dict(line.rsplit(" ", 1) for line in lines if line.startswith("pointsman_log_"))
    found = {
        name: float(words[f'pointsman_log_events_total{{result="{name}"}}'])
        for name in ("written", "spooled", "dropped")
    }
    return {**found, "pending": float(words["pointsman_log_pending"])}


def settled(url: str) -> dict[str, float]:
    """The counts once nothing waits any more, or after a minute."""
    end = time.monotonic() + 60
    while (found := counts(url))["pending"] and time.monotonic() < end:
        time.sleep(0.2)
    return found


def stored(url: str, wanted: int) -> int:
    """Events in the store, once there are so many (those that were spooled follow), or after a minute."""
    end = time.monotonic() + 60
    while (found := count(url)) < wanted and time.monotonic() < end:
        time.sleep(0.2)
    return found


def count(url: str) -> int:
    """Events in the store."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        name = next(row[0] for row in tables if "event" in row[0])
        row = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
        assert row is not None
        return int(row[0])


def main() -> int:
    """Measures and prints; 1 where an event is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="folder for log_stall.json and log_stall.md")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(postgres_server())
        up = stack.enter_context(upstream())
        ours = stack.enter_context(gateway(up, folder, "--log", store))
        rounds = asyncio.run(measure(f"{ours}/v1", urlsplit(store).port or 0, chosen.rounds))
        calls = CALLS * (2 * chosen.rounds + 1)
        log, kept = settled(ours), stored(store, 2 * calls)
    found = {name: summary(rows) for name, rows in rounds.items()}
    whole = kept == 2 * calls  # a decision and an attempt for each
    ratio = found["stopped"]["p99_ms"] / found["running"]["p99_ms"]
    page = "\n".join(
        [
            "| store | p50 ms | p99 ms | calls/s |",
            "|---|---|---|---|",
            *(
                f"| {name} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['per_s']:.0f} |"
                for name, row in found.items()
            ),
            "",
            f"p99 stopped / running: {ratio:.2f} (bar: 1.1). {calls} calls, {kept} events in the store, log: {log},"
            f" {'all' if whole else 'NOT ALL'} there.",
        ]
    )
    print(page)
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "log_stall.json").write_text(
            json.dumps({"found": found, "ratio": ratio, "log": log, "kept": kept})
        )
        (chosen.out / "log_stall.md").write_text(page + "\n")
    return 0 if whole else 1


if __name__ == "__main__":
    raise SystemExit(main())

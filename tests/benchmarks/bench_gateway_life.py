"""How soon the gateway answers after its start, and whether a store that stands still is felt.

``python -m tests.benchmarks.bench_gateway_life [--starts N] [--calls N] [--out DIR]``: seconds from the start of the
process to the end of its first answer, with the default bundle; then p99 of calls, one at a time, with the outcome log
in a PostgreSQL that runs, that is stopped (SIGSTOP to all of its processes), and that runs again, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import psutil

from tests.benchmarks.bench_gateway import gateway, one, timed, upstream
from tests.postgres_server import postgres_server


async def first_answer(url: str) -> None:
    """One call."""
    async with aiohttp.ClientSession() as session:
        await one(session, f"{url}/v1", False)


def starts(up: str, count: int) -> list[float]:
    """Seconds of each start, to the end of the first answer."""
    found = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with gateway(up, Path(folder)) as url:
                asyncio.run(first_answer(url))
                found.append(time.perf_counter() - started)
    return found


def signal_postgres(number: signal.Signals) -> int:
    """Sends it to every PostgreSQL process below this one; how many there were."""
    below = [child for child in psutil.Process().children(recursive=True) if "postgres" in child.name()]
    for child in below:
        child.send_signal(number)
    return len(below)


async def stopped_store(url: str, calls: int, rounds: int) -> dict[str, float]:
    """p99 in ms with the store running and stopped, over all rounds."""
    spent: dict[str, list[float]] = {"running": [], "stopped": []}
    async with aiohttp.ClientSession() as session:
        await timed(session, f"{url}/v1", False, 50, 1)
        for _ in range(rounds):
            spent["running"] += (await timed(session, f"{url}/v1", False, calls, 1))["ms"]
            if not signal_postgres(signal.SIGSTOP):
                raise RuntimeError("no PostgreSQL process was found to stop")
            try:
                spent["stopped"] += (await timed(session, f"{url}/v1", False, calls, 1))["ms"]
            finally:
                signal_postgres(signal.SIGCONT)
    return {f"p99_ms_{name}": sorted(times)[int(len(times) * 0.99)] for name, times in spent.items()}


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--calls", type=int, default=500, help="in each round of the stopped store")
    parser.add_argument("--out", type=Path, help="folder for gateway_life.json")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        up = stack.enter_context(upstream())
        seconds = starts(up, chosen.starts)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(postgres_server())
        url = stack.enter_context(gateway(up, folder, "--log", store))
        figures = asyncio.run(stopped_store(url, chosen.calls, 5))
    ratio = figures["p99_ms_stopped"] / figures["p99_ms_running"]
    found = {"start_s": statistics.median(seconds), "start_s_worst": max(seconds), **figures, "stopped_ratio": ratio}
    print("\n".join(f"{name}: {value:.3f}" for name, value in found.items()))
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "gateway_life.json").write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

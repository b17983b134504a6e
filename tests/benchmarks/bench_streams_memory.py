"""Resident memory under 50 concurrent streams: is there a trend?

``python -m tests.benchmarks.bench_streams_memory [--seconds 300]`` streams without pause against a local server in
another process and samples the resident size once a second. The first minute fills what is bounded (the health window,
the pool of connections, the allocator's arenas) and is shown, but not judged; through the rest goes a line, over the
means of a quarter of a minute each: single seconds are no independent samples, because memory grows in steps.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time

import numpy as np
import psutil

from tests.benchmarks.bench_engine import made_world, ours

WARM_UP_S, BLOCK_S = 60, 15


async def sample(base: str, seconds: float, concurrency: int) -> tuple[list[float], int]:
    """(MiB resident, once a second; streams that were read)."""
    world = made_world(base, "auto")
    work, process = ours(world), psutil.Process()
    end, streams = time.perf_counter() + seconds, 0
    sizes: list[float] = []

    async def reader() -> None:
        nonlocal streams
        while time.perf_counter() < end:
            await work(True)
            streams += 1
            world.log.clear()  # the list that stands for the log here would be the only thing to grow

    readers = asyncio.gather(*(reader() for _ in range(concurrency)))
    while time.perf_counter() < end:
        sizes.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(1.0)
    await readers
    await world.engine.aclose()
    return sizes, streams


def trend(sizes: list[float]) -> tuple[float, float]:
    """(MiB a minute over the means of blocks, its standard error)."""
    blocks = len(sizes) // BLOCK_S
    means = np.array(sizes[: blocks * BLOCK_S]).reshape(blocks, BLOCK_S).mean(axis=1)
    minutes = np.arange(blocks, dtype=np.float64) * BLOCK_S / 60
    (slope, _), covariance = np.polyfit(minutes, means, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--concurrency", type=int, default=50)
    chosen = options.parse_args()
    command = [sys.executable, "-m", "tests.provider_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        base = server.stdout.readline().strip()
        sizes, streams = asyncio.run(sample(base, WARM_UP_S + chosen.seconds, chosen.concurrency))
        server.stdin.close()
    slope, error = trend(sizes[WARM_UP_S:])
    curve = " ".join(f"{size:.2f}" for size in sizes[::30])
    print(f"{streams} streams; MiB every half minute: {curve}")
    print(f"trend after {WARM_UP_S} s: {slope:+.3f} ± {1.96 * error:.3f} MiB a minute")


if __name__ == "__main__":
    main()

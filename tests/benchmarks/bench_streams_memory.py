"""Resident memory under 50 concurrent streams: is there a trend?

``python -m tests.benchmarks.bench_streams_memory [--seconds 300]`` streams without pause against a local server in
another process, samples the resident size once a second, and fits a line through the second half of the samples.
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
    """(MiB a minute over the second half, its standard error)."""
    half = np.array(sizes[len(sizes) // 2 :])
    seconds = np.arange(len(half), dtype=np.float64)
    (slope, _), covariance = np.polyfit(seconds, half, 1, cov=True)
    return float(slope * 60), float(np.sqrt(covariance[0, 0]) * 60)


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
        sizes, streams = asyncio.run(sample(base, chosen.seconds, chosen.concurrency))
        server.stdin.close()
    slope, error = trend(sizes)
    print(f"{streams} streams, {sizes[len(sizes) // 2]:.1f} MiB at half time, {sizes[-1]:.1f} MiB at the end")
    print(f"trend over the second half: {slope:+.3f} ± {1.96 * error:.3f} MiB a minute")


if __name__ == "__main__":
    main()

"""Memory under 50 concurrent streams: is there a trend?

``python -m tests.benchmarks.bench_streams_memory [--seconds 300]`` streams without pause against a local server in
another process and samples once a second what is resident, and what is in use: Python's blocks, and the bytes that
malloc has given out. The first minute fills what is bounded (the health window, the pool of connections, the
allocator's arenas) and is shown, but not judged; through the rest goes a line, over the means of a quarter of a minute
each: single seconds are no independent samples, because memory grows in steps. A leak shows in what is in use; what is
resident grows beside it as long as the allocators touch new pages of arenas that they hold already.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import psutil

from tests.benchmarks.bench_engine import made_world, ours

WARM_UP_S, BLOCK_S = 60, 15


class _MallInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in _names]


def in_use() -> Callable[[], float]:
    """Reads how many bytes malloc has given out, in MiB; Python's small objects lie in few large ones."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _MallInfo

    def read() -> float:
        info = libc.mallinfo2()
        return float(info.uordblks + info.hblkhd) / 2**20

    return read


async def sample(base: str, seconds: float, concurrency: int) -> tuple[list[tuple[float, float, float]], int]:
    """(MiB resident, MiB given out by malloc and Python's blocks, once a second; streams that were read)."""
    world = made_world(base, "auto")
    work, process = ours(world), psutil.Process()
    end, streams = time.perf_counter() + seconds, 0
    sizes: list[tuple[float, float, float]] = []
    given_out = in_use()

    async def reader() -> None:
        nonlocal streams
        while time.perf_counter() < end:
            await work(True)
            streams += 1
            world.log.clear()  # the list that stands for the log here would be the only thing to grow

    readers = asyncio.gather(*(reader() for _ in range(concurrency)))
    while time.perf_counter() < end:
        gc.collect()  # what waits for the collector is not in use
        sizes.append((process.memory_info().rss / 2**20, given_out(), float(sys.getallocatedblocks())))
        await asyncio.sleep(1.0)
    await readers
    await world.engine.aclose()
    return sizes, streams


def trend(sizes: Sequence[float]) -> tuple[float, float]:
    """(Change a minute over the means of blocks, its standard error)."""
    blocks = len(sizes) // BLOCK_S
    means = np.array(sizes)[: blocks * BLOCK_S].reshape(blocks, BLOCK_S).mean(axis=1)
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
    print(f"{streams} streams; MiB resident every half minute: {' '.join(f'{one[0]:.2f}' for one in sizes[::30])}")
    for place, what in enumerate(("MiB resident", "MiB given out by malloc", "blocks of Python's objects")):
        judged = [one[place] for one in sizes[WARM_UP_S:]]
        slope, error = trend(judged)
        print(f"{what}: {judged[0]:,.2f} after {WARM_UP_S} s, then {slope:+.4f} ± {1.96 * error:.4f} a minute")


if __name__ == "__main__":
    main()

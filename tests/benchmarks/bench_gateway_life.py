"""How soon the gateway answers after its start.

``python -m tests.benchmarks.bench_gateway_life [--starts N] [--out DIR]``: seconds from the start of the process to the
end of its first answer, with the default bundle and the log on. The package's bytecode is written first, as an
installer does; a checkout that Python may not write bytecode into compiles everything at each start.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import json
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.benchmarks.bench_gateway import ROOT, gateway, one, upstream


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


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for gateway_life.json")
    chosen = parser.parse_args()
    compileall.compile_dir(ROOT / "router_runtime", quiet=1)
    with upstream() as up:
        seconds = starts(up, chosen.starts)
    found = {"start_s": statistics.median(seconds), "start_s_best": min(seconds), "start_s_worst": max(seconds)}
    print("\n".join(f"{name}: {value:.3f}" for name, value in found.items()) + "\n(bar: 1.5 s)")
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "gateway_life.json").write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

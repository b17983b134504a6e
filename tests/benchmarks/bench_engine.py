"""The engine beside bare httpx and bare aiohttp, on one local server, in one run.

``python -m tests.benchmarks.bench_engine [--json FILE]`` prints a table: milliseconds a call at concurrency 1, calls a
second at concurrency 32, milliseconds for a stream of 200 chunks, CPU time for each of them, and how far past its
deadline a hanging call ends. Variants take turns in small rounds, so that a busy machine is busy for all.

Measured on two shared cores (load 3), engine on aiohttp: 0.39 ms a call (bare httpx 1.19, bare aiohttp 0.21), 1,450
calls a second at 32 (bare httpx 339), 5.1 ms a stream (bare aiohttp 2.4 when it looks at nothing, 4.2 when it splits
lines and parses the JSON of each chunk: reading the chunks is most of it), 4 ms past the deadline at worst.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx

from router_runtime.errors import AllAttemptsFailed
from router_runtime.execution import ExecutionSettings
from router_runtime.transport import open_transport
from tests.provider_server import ProviderServer, Stall
from tests.runtime.execution.world import World, model, provider, registry

WHOLE = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Which track?"}]}).encode()
STREAM = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Which track?"}]}).encode()
HEADERS = {"content-type": "application/json", "authorization": "Bearer x"}
Work = Callable[[bool], Awaitable[None]]
"""One call; the argument says whether it is streamed."""


def bare_httpx(client: httpx.AsyncClient, url: str) -> Work:
    async def work(streamed: bool) -> None:
        if not streamed:
            json.loads((await client.post(url, content=WHOLE, headers=HEADERS)).content)
            return
        async with client.stream("POST", url, content=STREAM, headers=HEADERS) as response:
            async for _ in response.aiter_bytes():
                pass

    return work


def bare_aiohttp(session: aiohttp.ClientSession, url: str) -> Work:
    async def work(streamed: bool) -> None:
        async with session.post(url, data=STREAM if streamed else WHOLE, headers=HEADERS) as response:
            if not streamed:
                json.loads(await response.read())
                return
            async for _ in response.content.iter_any():
                pass

    return work


def parsing_aiohttp(session: aiohttp.ClientSession, url: str) -> Work:
    """Bare aiohttp that also looks at what it gets: lines, and the JSON of each event."""

    async def work(streamed: bool) -> None:
        async with session.post(url, data=STREAM if streamed else WHOLE, headers=HEADERS) as response:
            if not streamed:
                json.loads(await response.read())
                return
            async for line in response.content:
                if line.startswith(b"data: {"):
                    json.loads(line[6:])["choices"][0]["delta"].get("content")

    return work


def ours(world: World) -> Work:
    async def work(streamed: bool) -> None:
        if not streamed:
            await world.complete()
            return
        async with world.stream() as chunks:
            async for _ in chunks:
                pass

    return work


async def calls_a_second(work: Work, calls: int, concurrency: int) -> float:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await work(False)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return calls / (time.perf_counter() - started)


async def timed(work: Work, streamed: bool, calls: int) -> tuple[list[float], float]:
    """(milliseconds of each call, CPU milliseconds a call)."""
    wall, cpu = [], time.process_time()
    for _ in range(calls):
        started = time.perf_counter()
        await work(streamed)
        wall.append((time.perf_counter() - started) * 1e3)
    return wall, (time.process_time() - cpu) * 1e3 / calls


def made_world(url: str, kind: str) -> World:
    limits = {"timeout_s": 60.0, "first_token_timeout_s": 30.0, "idle_timeout_s": 30.0}
    known = registry([provider("p0", url, **limits)], [model("m0", "p0")])
    settings = ExecutionSettings(deadline_s=60.0)
    return World.around(known, settings=settings, connect=lambda: open_transport(kind))  # type: ignore[arg-type]


async def overshoot_ms(calls: int) -> float:
    """The worst time past its deadline of 300 ms at which a call ends that hangs before or within its answer."""
    settings, worst = ExecutionSettings(deadline_s=0.3), 0.0
    with ProviderServer(lambda _request: [Stall()]) as server:
        world = World.of([server.url, server.url], settings=settings)
        for _ in range(calls):
            started = time.perf_counter()
            try:
                await world.complete()
            except AllAttemptsFailed:
                worst = max(worst, time.perf_counter() - started - settings.deadline_s)
        await world.engine.aclose()
    return worst * 1e3


async def measure(base: str, rounds: int) -> dict[str, dict[str, float]]:
    url = base + "/chat/completions"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    worlds = {kind: made_world(base, kind) for kind in ("httpx", "aiohttp")}
    async with (
        httpx.AsyncClient(limits=limits, timeout=30) as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        works = {
            "bare httpx": bare_httpx(client, url),
            "bare aiohttp": bare_aiohttp(session, url),
            "aiohttp, parsing": parsing_aiohttp(session, url),
            "engine on httpx": ours(worlds["httpx"]),
            "engine on aiohttp": ours(worlds["aiohttp"]),
        }
        found = {name: await _rounds(work, 20, warm=True) for name, work in works.items()}
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                samples[name].append(await _rounds(work, 60))
        found = {name: {k: statistics.median(s[k] for s in rows) for k in rows[0]} for name, rows in samples.items()}
    for world in worlds.values():
        await world.engine.aclose()
    return found


async def _rounds(work: Work, calls: int, warm: bool = False) -> dict[str, float]:
    whole, whole_cpu = await timed(work, False, calls)
    streamed, stream_cpu = await timed(work, True, calls // 6)
    rate = 0.0 if warm else await calls_a_second(work, calls * 8, 32)
    return {
        "call_ms": statistics.median(whole),
        "call_cpu_ms": whole_cpu,
        "calls_per_s_at_32": rate,
        "stream200_ms": statistics.median(streamed),
        "stream200_cpu_ms": stream_cpu,
    }


def report(found: dict[str, dict[str, float]], overshoot: float) -> str:
    names = list(next(iter(found.values())))
    lines = [f"{'':20s}" + "".join(f"{name:>20s}" for name in names)]
    lines += [f"{name:20s}" + "".join(f"{row[key]:20.3f}" for key in names) for name, row in found.items()]
    httpx_row, aio, own = found["bare httpx"], found["bare aiohttp"], found["engine on aiohttp"]
    lines += [
        f"one call: {own['call_ms'] / httpx_row['call_ms']:.2f} x bare httpx (bar 1.2)",
        f"32 at once: {own['calls_per_s_at_32'] / httpx_row['calls_per_s_at_32']:.1f} x bare httpx (bar 4)",
        f"stream: {own['stream200_ms'] / aio['stream200_ms']:.2f} x bare aiohttp (bar 1.5)",
        f"a hanging call ends {overshoot:.0f} ms past its deadline at worst (bar 100)",
    ]
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path, help="write the figures here")
    chosen = options.parse_args()
    command = [sys.executable, "-m", "tests.provider_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        found = asyncio.run(measure(server.stdout.readline().strip(), chosen.rounds))
        server.stdin.close()
    overshoot = asyncio.run(overshoot_ms(20))
    print(report(found, overshoot))
    if chosen.json:
        chosen.json.write_text(json.dumps({"engine": found, "deadline_overshoot_ms": overshoot}, indent=1))


if __name__ == "__main__":
    main()

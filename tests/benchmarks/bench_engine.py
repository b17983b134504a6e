"""The engine beside bare httpx, bare aiohttp and OpenAI's own client, on one local server, in one run.

``python -m tests.benchmarks.bench_engine [--json FILE]`` prints a table: milliseconds a call at concurrency 1, calls a
second at concurrency 32, milliseconds for a stream of 200 chunks, CPU time for each of them, and how far past its
deadline a hanging call ends. Variants take turns in small rounds, so that a busy machine is busy for all; each ratio is
the median over the rounds of the ratio within a round.
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
from typing import Any

import aiohttp
import httpx
from openai import AsyncOpenAI

from router_runtime.errors import AllAttemptsFailed
from router_runtime.execution import ExecutionSettings
from router_runtime.transports import open_transport
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


def openai_client(client: AsyncOpenAI) -> Work:
    """What most programs do today, for context."""
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Which track?"}]}

    async def work(streamed: bool) -> None:
        if not streamed:
            await client.chat.completions.create(**asked)
            return
        async for _ in await client.chat.completions.create(**asked, stream=True):
            pass

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


Rows = dict[str, list[dict[str, float]]]
"""Variant → its figures, round by round."""


async def measure(base: str, rounds: int) -> Rows:
    url = base + "/chat/completions"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    worlds = {kind: made_world(base, kind) for kind in ("httpx", "httptools")}
    async with (
        httpx.AsyncClient(limits=limits, timeout=30) as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        AsyncOpenAI(base_url=base, api_key="x", max_retries=0) as official,
    ):
        works = {
            "bare httpx": bare_httpx(client, url),
            "bare aiohttp": bare_aiohttp(session, url),
            "aiohttp, parsing": parsing_aiohttp(session, url),
            "openai's client": openai_client(official),
            "engine on httpx": ours(worlds["httpx"]),
            "engine on httptools": ours(worlds["httptools"]),
        }
        for work in works.values():
            await _rounds(work, 20, warm=True)
        samples: Rows = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                samples[name].append(await _rounds(work, 60))
    for world in worlds.values():
        await world.engine.aclose()
    return samples


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


def medians(samples: Rows) -> dict[str, dict[str, float]]:
    return {name: {k: statistics.median(s[k] for s in rows) for k in rows[0]} for name, rows in samples.items()}


def ratio(samples: Rows, key: str, base: str, of: str = "engine on httptools") -> float:
    """Median over the rounds of ``of`` ÷ ``base``."""
    return statistics.median(a[key] / b[key] for a, b in zip(samples[of], samples[base], strict=True))


def report(samples: Rows, overshoot: float) -> str:
    found = medians(samples)
    names = list(next(iter(found.values())))
    lines = [f"{'':20s}" + "".join(f"{name:>20s}" for name in names)]
    lines += [f"{name:20s}" + "".join(f"{row[key]:20.3f}" for key in names) for name, row in found.items()]
    streams = [ratio(samples, "stream200_ms", base) for base in ("bare aiohttp", "aiohttp, parsing", "openai's client")]
    lines += [
        f"one call: {ratio(samples, 'call_ms', 'bare httpx'):.2f} x bare httpx (bar 1.2)",
        f"32 at once: {ratio(samples, 'calls_per_s_at_32', 'bare httpx'):.1f} x bare httpx (bar 4)",
        f"stream: {streams[0]:.2f} x bare aiohttp (bar 1.5), {ratio(samples, 'stream200_cpu_ms', 'bare aiohttp'):.2f} x"
        f" its CPU; {streams[1]:.2f} x aiohttp that parses, {streams[2]:.2f} x OpenAI's client",
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
        figures = {"engine": medians(found), "rounds": found, "deadline_overshoot_ms": overshoot}
        chosen.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

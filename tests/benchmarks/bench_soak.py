"""The gateway under load for long: faults and hot reloads every 10 seconds, at 70 % of its own limit.

``python -m tests.benchmarks.bench_soak --minutes 30 --out DIR`` starts two scripted providers and the gateway with
the default bundle, its log and its keys. The first provider fails for 1.5 s in every 10 s, in a different way each
time; the second is always well. The run finds how many requests a second the gateway can take, then sends 70 % of that
for as long as was asked, a quarter of them streams; each 10 s the registry gets a new price and the bundle's folder is
written again. It ends by itself, prints a table, writes ``soak.json`` and ``soak.md``, and exits 1 where a request
failed that no provider made fail, or where memory grew by more than a tenth from the first third to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from router_runtime.gateway.keys import create_key
from tests.benchmarks.bench_gateway import MESSAGES, ROOT, percentile99, process
from tests.provider_server import Close, ProviderServer, Received, Reset, Script, Sleep, reply
from tests.provider_server import _bench_handler as well

EVERY_S, FAULT_S, SHARE = 10.0, 1.5, 0.7
_SERVE = "import sys; from router_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
_NO = {"error": {"message": "scripted", "type": "server_error", "code": None}}


def _cut(got: Received) -> Script:
    """Half of an answer, then the end."""
    whole = well(got)[0]
    return [type(whole)(whole.data[: len(whole.data) // 2]), Close()]  # type: ignore[union-attr,call-arg]


FAULTS: dict[str, Callable[[Received], Script]] = {
    "500": lambda _got: reply(_NO, 500),
    "reset": lambda _got: [Reset()],
    "429": lambda _got: reply(_NO, 429, retry_after="1"),
    "cut": _cut,
    "slow": lambda got: [Sleep(1.0), *well(got)],
    "malformed": lambda _got: reply("{not json", content_type="application/json"),
}


def faulty(got: Received) -> Script:
    """Well, but for the first part of every period."""
    number, place = divmod(time.time(), EVERY_S)
    if place >= FAULT_S:
        return well(got)
    return list(FAULTS.values())[int(number) % len(FAULTS)](got)


def serve_providers() -> None:
    """Two providers until stdin closes; prints their URLs."""
    with ProviderServer(faulty, keep=False) as first, ProviderServer(well, keep=False) as second:
        print(first.url, second.url, flush=True)
        sys.stdin.read()


def registry_text(urls: list[str], price: int) -> str:
    """The first provider has the better model, the second the one that takes over."""
    providers = "".join(f"  p{i}: {{adapter: openai-compatible, base_url: '{url}'}}\n" for i, url in enumerate(urls))
    models = "".join(
        f"  m{i}: {{provider: p{i}, quality_prior: 0.{9 - i}, capabilities: [streaming], "
        f"prices: [{{valid_from: 2026-04-01, input: {price}, output: {price}}}]}}\n"
        for i in range(len(urls))
    )
    return f"providers:\n{providers}models:\n{models}"


@dataclass
class Seen:
    """What came of the requests."""

    good: int = 0
    by_provider: Counter[str] = field(default_factory=Counter)
    ours: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)
    late: int = 0


async def one(session: aiohttp.ClientSession, url: str, key: str, streamed: bool, seen: Seen) -> None:
    """One request, put into its drawer."""
    body = {"model": "auto", "messages": MESSAGES} | ({"stream": True} if streamed else {})
    started = time.perf_counter()
    try:
        async with session.post(url, json=body, headers={"authorization": f"Bearer {key}"}) as response:
            data = await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError) as error:
        seen.ours[type(error).__name__] += 1
        return
    if status == 200 and (not streamed or data.rstrip().endswith(b"[DONE]")):
        seen.good += 1
        seen.ms.append((time.perf_counter() - started) * 1e3)
    elif b"stream_interrupted" in data:  # a provider cut a stream that had begun
        seen.by_provider["stream_interrupted"] += 1
    else:
        seen.ours[f"{status} {data[:200].decode('utf-8', 'replace')}"] += 1


async def limit_of(session: aiohttp.ClientSession, url: str, key: str, seconds: float) -> float:
    """Requests a second with 32 at a time."""
    seen, until = Seen(), time.perf_counter() + seconds

    async def worker(place: int) -> None:
        while time.perf_counter() < until:
            place += 1
            await one(session, url, key, place % 4 == 0, seen)

    await asyncio.gather(*(worker(i) for i in range(32)))
    return (seen.good + sum(seen.by_provider.values())) / seconds


async def load(session: aiohttp.ClientSession, url: str, key: str, rate: float, seconds: float, seen: Seen) -> None:
    """Sends ``rate`` requests a second, whether or not the earlier ones have ended."""
    tasks: set[asyncio.Task[None]] = set()
    started, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        while sent < now * rate:
            sent += 1
            if len(tasks) >= 400:  # the load's own bound: what it cannot send is counted, not queued
                seen.late += 1
                continue
            task = asyncio.create_task(one(session, url, key, sent % 4 == 0, seen))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)


async def disturb(folder: Path, urls: list[str], child: psutil.Process, seconds: float, memory: list[float]) -> None:
    """New prices and the bundle written again, every 10 s; notes the gateway's memory in MiB each time."""
    for turn in range(1, int(seconds / EVERY_S) + 1):
        await asyncio.sleep(EVERY_S)
        write(folder / "registry.yaml", registry_text(urls, 1 + turn % 5))
        manifest = folder / "bundle" / "manifest.json"
        write(manifest, manifest.read_text())
        memory.append(child.memory_info().rss / 2**20)


def write(path: Path, text: str) -> None:
    """In one step, as a deployment should."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


async def soak(
    url: str, key: str, folder: Path, urls: list[str], child: psutil.Process, minutes: float
) -> dict[str, Any]:
    """The whole run."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        limit = await limit_of(session, url, key, 10.0)
        seen, memory = Seen(), []
        print(f"limit {limit:.0f}/s; sending {limit * SHARE:.0f}/s for {minutes:g} minutes", flush=True)
        disturbing = asyncio.create_task(disturb(folder, urls, child, minutes * 60, memory))
        await load(session, url, key, limit * SHARE, minutes * 60, seen)
        await disturbing
    third = max(1, len(memory) // 3)
    first, last = statistics.median(memory[:third]), statistics.median(memory[-third:])
    return {
        "minutes": minutes, "limit_per_s": limit, "sent_per_s": limit * SHARE, "good": seen.good,
        "failed_by_provider": dict(seen.by_provider), "failed_by_us": dict(seen.ours), "not_sent": seen.late,
        "p50_ms": statistics.median(seen.ms), "p99_ms": percentile99(seen.ms),
        "reloads": len(memory), "memory_mib": [round(m, 1) for m in memory],
        "memory_first_third_mib": first, "memory_last_third_mib": last, "memory_mib_a_minute": trend(memory[third:]),
    }  # fmt: skip


def trend(memory: list[float]) -> float:
    """MiB that are gained in a minute, by least squares over readings :data:`EVERY_S` apart; 0 for fewer than two."""
    if len(memory) < 2:
        return 0.0
    minutes = [place * EVERY_S / 60 for place in range(len(memory))]
    return statistics.linear_regression(minutes, memory).slope


def markdown(found: dict[str, Any]) -> str:
    """One table."""
    shown = {k: v for k, v in found.items() if k != "memory_mib"}
    rows = [f"| {k} | {v:.2f} |" if isinstance(v, float) else f"| {k} | {v or 'none'} |" for k, v in shown.items()]
    return "\n".join(["| what | figure |", "|---|---|", *rows, ""])


def main() -> int:
    """Runs, writes, judges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, help="folder for soak.json and soak.md")
    parser.add_argument("--providers", action="store_true", help="serve the two providers alone")
    chosen = parser.parse_args()
    if chosen.providers:
        serve_providers()
        return 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.copytree(ROOT / "models" / "default", folder / "bundle")
        command = [sys.executable, "-m", "tests.benchmarks.bench_soak", "--providers"]
        providers = stack.enter_context(process(command, stdout=subprocess.PIPE))
        assert providers.stdout is not None
        urls = providers.stdout.readline().split()
        write(folder / "registry.yaml", registry_text(urls, 1))
        key, _ = create_key(folder / "state", "soak", time.time())
        where = ["--registry", str(folder / "registry.yaml"), "--bundle", str(folder / "bundle")]
        where += ["--state", str(folder / "state"), "--log", str(folder / "log"), "--port", "0"]
        command = [sys.executable, "-c", _SERVE, "serve", *where, "--max-concurrent-per-key", "512"]
        with (folder / "said").open("w+") as said:
            child = stack.enter_context(process(command, stderr=said))
            while "serves" not in (line := (folder / "said").read_text()):
                time.sleep(0.05)
            url = line.split()[-1] + "/v1/chat/completions"
            found = asyncio.run(soak(url, key, folder, urls, psutil.Process(child.pid), chosen.minutes))
            found["stderr_tail"] = (folder / "said").read_text()[-2000:]
    print(markdown({k: v for k, v in found.items() if k != "stderr_tail"}))
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "soak.json").write_text(json.dumps(found, indent=1))
        (chosen.out / "soak.md").write_text(markdown({k: v for k, v in found.items() if k != "stderr_tail"}))
    flat = found["memory_last_third_mib"] <= found["memory_first_third_mib"] * 1.1
    return 0 if flat and not found["failed_by_us"] else 1


if __name__ == "__main__":
    raise SystemExit(main())

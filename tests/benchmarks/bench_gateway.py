"""The gateway's own time, beside the floor: the same upstream through a bare Starlette + httpx pass-through.

``python -m tests.benchmarks.bench_gateway [--rounds N] [--out DIR]`` starts the scripted upstream, the pass-through and
the gateway (with the default bundle and its log on), each in a process of its own, and calls all of them in turns: one
call at a time, 50 at a time, and streams of 200 chunks. What is added is the time over the direct call in the same
round. ``--litellm-venv DIR`` measures the LiteLLM proxy of that environment in the same run and prints the ratios of
what is added; ``--also NAME=URL`` takes in any other server (its base URL up to ``/v1``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks.litellm_proxy import lines_of, litellm_proxy

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = [{"role": "user", "content": "Which track does the night train to Bergen leave from?"}]
_GATEWAY = "import sys; from router_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def process(command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A child that ends with the block."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=ROOT, **more)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


@contextmanager
def upstream() -> Iterator[str]:
    """The scripted provider; its URL."""
    with process([sys.executable, "-m", "tests.provider_server"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        yield child.stdout.readline().strip()


@contextmanager
def passthrough(target: str) -> Iterator[str]:
    """The floor; its URL."""
    command = [sys.executable, "-m", "tests.benchmarks.passthrough", target]
    with process(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        yield child.stdout.readline().strip()


def registry_text(url: str) -> str:
    """Two models at the upstream, so that there is something to choose."""
    price = "prices: [{valid_from: 2026-04-01, input: %d, output: %d}], capabilities: [tools, json, streaming]"
    rows = [f"  m{i}: {{provider: up, {price % (i + 1, 2 * i + 2)}}}" for i in range(2)]
    return f"providers: {{up: {{adapter: openai-compatible, base_url: '{url}'}}}}\nmodels:\n" + "\n".join(rows) + "\n"


@contextmanager
def gateway(target: str, folder: Path, *options: str) -> Iterator[str]:
    """Our gateway as users start it; its URL."""
    registry = folder / "registry.yaml"
    registry.write_text(registry_text(target))
    where = ["--registry", str(registry), "--state", str(folder / "state"), "--log", str(folder / "log")]
    bundle = ["--bundle", str(ROOT / "models" / "default")]
    command = [sys.executable, "-c", _GATEWAY, "serve", *bundle, *where, "--port", "0", "--insecure-local", *options]
    with process(command, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        yield child.stderr.readline().split()[-1]


async def one(session: aiohttp.ClientSession, url: str, streamed: bool) -> None:
    """One call, read to its end.

    Raises:
        RuntimeError: The answer is no good one.
    """
    body = {"model": "auto", "messages": MESSAGES} | ({"stream": True} if streamed else {})
    async with session.post(f"{url}/chat/completions", json=body) as response:
        data = await response.read()
        if response.status != 200 or (streamed and not data.rstrip().endswith(b"[DONE]")):
            raise RuntimeError(f"{url}: {response.status} {data[:200]!r}")


async def timed(session: aiohttp.ClientSession, url: str, streamed: bool, calls: int, at_once: int) -> dict[str, Any]:
    """Milliseconds of each call, and calls a second."""
    left, spent = iter(range(calls)), []

    async def worker() -> None:
        for _ in left:
            started = time.perf_counter()
            await one(session, url, streamed)
            spent.append((time.perf_counter() - started) * 1e3)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return {"ms": spent, "rate": calls / (time.perf_counter() - started)}


LATENCIES = ("p50_ms", "p99_ms", "p99_round_ms")

#: name → (streamed, calls in a round, at a time)
LOADS = {"c1": (False, 100, 1), "c50": (False, 500, 50), "stream200": (True, 20, 1)}


async def one_round(url: str, streamed: bool, calls: int, at_once: int) -> dict[str, Any]:
    """As :func:`timed`, on warm connections of its own: servers close those that idle while others are asked."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await timed(session, url, streamed, max(10, at_once), at_once)
        return await timed(session, url, streamed, calls, at_once)


async def measure(urls: dict[str, str], rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Load → server → figures."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {load: {name: [] for name in urls} for load in LOADS}
    for _ in range(rounds):
        for load, (streamed, calls, at_once) in LOADS.items():
            for name, url in urls.items():
                try:
                    found[load][name].append(await one_round(url, streamed, calls, at_once))
                except RuntimeError as error:
                    raise RuntimeError(f"{name}, {load}: {error}") from error
    return {load: {name: summary(rows) for name, rows in servers.items()} for load, servers in found.items()}


def summary(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """p50 and p99 over all calls, the median of the rounds' own p99, and the median rate of the rounds.

    A shared machine stalls for 30 ms now and then, which fills the last hundredth of quick calls and hardly shows in
    slow ones; the median round tells what a call in a hundred takes when it does not.
    """
    spent = [ms for one_round in rounds for ms in one_round["ms"]]
    return {
        "p50_ms": statistics.median(spent),
        "p99_ms": percentile99(spent),
        "p99_round_ms": statistics.median(percentile99(one_round["ms"]) for one_round in rounds),
        "per_s": statistics.median(one_round["rate"] for one_round in rounds),
    }


def percentile99(spent: list[float]) -> float:
    """The value that 99 in 100 do not pass."""
    return sorted(spent)[int(len(spent) * 0.99)]


def markdown(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """One table for each load; added = over the direct call."""
    lines = []
    for load, servers in found.items():
        direct = servers["direct"]
        lines += [
            f"### {load}",
            "",
            "| server | p50 ms | p99 ms | added p50 | added p99 | in the median round | calls/s |",
        ]
        lines.append("|---|---|---|---|---|---|---|")
        for name, row in servers.items():
            added = [f"{row[key] - direct[key]:.2f}" for key in LATENCIES]
            figures = [f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", *added, f"{row['per_s']:.0f}"]
            lines.append(f"| {name} | " + " | ".join(figures) + " |")
        lines.append("")
    return "\n".join(lines)


def ratios(found: dict[str, dict[str, dict[str, float]]], other: str = "litellm") -> str:
    """How many times ``other`` adds what the gateway adds, and what it serves of its calls a second.

    What is added at 50 at a time is waiting, which is divided by what the slowest part serves: there the calls a
    second say more.
    """
    lines = [f"### gateway against {other}", ""]
    lines += ["| load | added p50, times | added p99, times | in the median round | calls/s, times |"]
    lines.append("|---|---|---|---|---|")
    for load, servers in found.items():
        direct, ours, theirs = servers["direct"], servers["gateway"], servers[other]
        cells = [f"{(theirs[key] - direct[key]) / (ours[key] - direct[key]):.1f}" for key in LATENCIES]
        lines.append(f"| {load} | " + " | ".join([*cells, f"{ours['per_s'] / theirs['per_s']:.1f}"]) + " |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="folder for gateway.json and gateway.md")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=URL", help="another server to measure")
    parser.add_argument("--litellm-venv", type=Path, metavar="DIR", help="environment that holds the LiteLLM proxy")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = stack.enter_context(upstream())
        floor, ours = stack.enter_context(passthrough(up)), stack.enter_context(gateway(up, folder))
        others = dict(word.split("=", 1) for word in chosen.also)
        if chosen.litellm_venv:
            others["litellm"] = stack.enter_context(litellm_proxy(chosen.litellm_venv.absolute(), up, folder))
        urls = {"direct": up, "pass-through": floor, "gateway": f"{ours}/v1", **others}
        found = asyncio.run(measure(urls, chosen.rounds))
        if chosen.litellm_venv and not lines_of(folder):
            raise RuntimeError("the LiteLLM proxy logged nothing, so the comparison would not be fair")
    page = markdown(found) + (ratios(found) if "litellm" in found["c1"] else "")
    print(page)
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / "gateway.json").write_text(json.dumps(found, indent=1))
        (chosen.out / "gateway.md").write_text(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A service that its parent kills: a router with log and budgets, calling one provider as fast as it can.

``python -m tests.runtime.killed_service FOLDER URL`` prints the id of each decision whose feedback is acknowledged.
"""

import asyncio
import sys
from pathlib import Path

from router_runtime import Router
from router_runtime.budgets import Budgets
from router_runtime.registry_reader import parse_registry

NOW = 1_780_000_000.0
"""All time of the service: no window of a budget may end while the test runs."""
REGISTRY = """
providers:
  p: {adapter: openai, base_url: "%s"}
models:
  m: {provider: p, prices: [{valid_from: 2026-04-01, input: 10, output: 10}]}
tiers:
  t: {budgets: {month: {usd: 100000}}, user_budgets: {day: {usd: 100000}}}
policy: {output_tokens: 500}
"""


async def call_forever(router: Router) -> None:
    while True:
        done = await router.complete("Which track?", tier="t", user="ann", session="s")
        await asyncio.to_thread(router.feedback, done.decision.id, score=1.0)
        sys.stdout.write(f"{done.decision.id}\n")
        sys.stdout.flush()


async def main(folder: Path, url: str) -> None:
    budgets = Budgets(folder / "budgets.sqlite", clock=lambda: NOW)
    registry = parse_registry((REGISTRY % url).encode())
    async with Router.open(
        registry=registry, state_dir=None, log=folder / "log", budgets=budgets, clock=lambda: NOW
    ) as router:
        await asyncio.gather(*(call_forever(router) for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

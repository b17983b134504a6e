"""kill -9 of a whole service at random: nothing acknowledged is lost, and no budget forgets what was spent."""

import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from router_runtime.budgets import Budgets
from router_runtime.stores.reading import read_events
from tests.provider_server import ProviderServer, reply
from tests.runtime.execution.wires import WIRES
from tests.runtime.killed_service import NOW

COST = Decimal(15 * 10) / 10**6
"""Of one call: the provider counts 10 + 5 tokens at $10 a million."""


def killed_once(folder: Path, url: str, wait_s: float, *, working: bool) -> set[str]:
    """What the service acknowledged before its end, ``wait_s`` after its start or its first answer (``working``)."""
    command = [sys.executable, "-m", "tests.runtime.killed_service", str(folder), url]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert service.stdout is not None
    assert service.stderr is not None
    first = service.stdout.readline() if working else ""
    time.sleep(wait_s)
    assert service.poll() is None, f"it ended by itself: {service.stderr.read()}"
    service.kill()
    out, _ = service.communicate()
    return {line for line in (first + out).splitlines(keepends=False) if len(line) == 36}


def kill_loop(folder: Path, rounds: int) -> None:
    rng, acknowledged = random.Random(5), set[str]()
    whole = reply(WIRES[0].good("Fine."))
    with ProviderServer(lambda _request: whole) as provider:
        for number in range(rounds):
            working = number % 5 != 4  # the others die while they start
            acknowledged |= killed_once(folder, provider.url, rng.random() * (0.3 if working else 1.0), working=working)
            budgets = Budgets(folder / "budgets.sqlite", clock=lambda: NOW)
            spent, tokens = budgets.spent("tier:t", "month")
            budgets.close()
            billed = len(provider.received)
            assert spent >= billed * COST, f"round {number}: {billed} calls were billed"
            assert tokens >= billed * 15
            assert len(acknowledged) <= billed
            told = {row.decision_id for row in read_events(folder / "log") if row.kind == "feedback"}
            assert acknowledged <= told, f"round {number}: {len(acknowledged - told)} acknowledged events are lost"
    rows = list(read_events(folder / "log"))
    assert len({row.id for row in rows}) == len(rows), "nothing is stored twice"
    assert len(acknowledged) > rounds, "the service worked between its deaths"
    # What more was counted are the calls that were under way when it died: four at a time at most.
    most = billed * COST + rounds * 4 * Decimal(600 * 10) / 10**6
    assert spent <= most


def test_kill_9_of_a_service_three_times(tmp_path: Path) -> None:
    kill_loop(tmp_path, 3)


@pytest.mark.slow
def test_kill_9_of_a_service_fifty_times(tmp_path: Path) -> None:
    kill_loop(tmp_path, 50)

"""The example runs, and what it shows is so."""

import contextlib
import subprocess
import sys
from decimal import Decimal

import pytest

from notebooks.agents_and_memory import TASKS, scripted_registry, solve, solve_alone, total
from router_runtime import Router
from router_runtime.memory import open_memory
from tests.conftest import ROOT


@pytest.fixture
def both(tmp_path):
    with scripted_registry() as registry, contextlib.closing(Router.open(registry=registry, state_dir=None)) as router:
        memory = open_memory(tmp_path / "memory.sqlite", lambda: registry)
        yield solve(router, memory), solve_alone(router)
        memory.close()


def test_four_agents_solve_the_list_and_share_what_they_learn(both):
    agents, alone = both
    assert [one.agent for one in agents] == [
        *("coding", "vision", "classifier", "classifier"),
        *("classifier", "terminal", "coding", "vision"),
    ]
    assert {one.agent: one.model for one in agents} == {
        "coding": "claude-opus-4.7",
        "vision": "gemini-3.1-pro",
        "classifier": "deepseek-v4-flash",
        "terminal": "gpt-5.5",
    }
    assert [one.answer for one in agents] == [task.answer for task in TASKS]
    assert all("coding: parse_invoice()" in one.notes[0] for one in agents if one.task.recall)
    assert [one.answer for one in alone if one.task.without] == [task.without for task in TASKS if task.without]


def test_the_costs_are_the_registrys_prices_times_the_tokens(both):
    agents, alone = both
    first = agents[0]
    prompt = (first.cost_usd * 1_000_000 - 75 * first.task.tokens) / 15
    assert prompt == int(prompt) > 0
    assert Decimal(0) < total(agents) < total(alone)
    assert {one.model for one in alone} == {"claude-opus-4.7"}


def test_it_runs_as_shown():
    command = [sys.executable, "-W", "error", "-m", "notebooks.agents_and_memory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert "for all: $" in done.stdout
    assert done.stderr == ""

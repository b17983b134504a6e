"""A router that was opened before a service forked its workers (gunicorn's ``preload_app``) works in each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.redis_server import RedisServer

SERVICE = """
import os, signal, sys
from decimal import Decimal
from router_runtime import Router
from router_runtime.budgets import Budgets, Limit
from router_runtime.execution import Engine
from router_runtime.memory import Memory
from router_runtime.memory.access import Access, private
from router_runtime.memory.endpoint_encoder import EndpointEncoder
from router_runtime.providers.catalog import adapter
from tests.provider_server import ProviderServer, reply
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.execution.world import model, provider, registry

folder, state = sys.argv[1], sys.argv[2] or None

def access(agent):
    return Access(agent, frozenset({private(agent)}), frozenset({private(agent)}), private(agent))

def work(who):
    assert router.complete_sync("Which track?", limits=[limit]).text
    assert "".join(item.content or "" for item in router.stream_sync("Which track?"))
    assert router.log.flush(5)
    memory.write("a", f"written by the {who}")
    assert embeddings.encode(["points"]).tolist() == [[0, 1]]
    assert state or budgets.headroom([limit]).usd < 1
    if state and who == "child":
        router.settings.state.disable("m0", 4e9)

with ProviderServer() as server:
    server.handler = lambda request: (
        reply({"data": [{"index": 0, "embedding": [0.0, 2.0]}]}) if "embed" in request.path
        else good(WIRES[0], b'"stream"' in request.body)
    )
    entry = provider("p0", server.url, api_key_env=None)
    embeddings = EndpointEncoder(entry, "m", 2)
    known = registry([entry], [model("m0", "p0")])
    limit = Limit("tier:free", "month", usd=Decimal(1))
    budgets, memory = Budgets(folder + "/budgets.sqlite"), Memory.open(folder + "/memory.sqlite", access)
    router = Router.open(registry=known, state_dir=None, log=folder + "/log", budgets=budgets, state=state)
    work("parent")
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a thread that is not there would be waited for without end
        work("child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    if state:
        router.settings.state.exchange()
        assert "m0" in router.live.snapshot(router.settings.clock()).disabled, "told by the child"
        router.settings.state.enable("m0")
    work("parent")
    assert len(memory.search("written", reader="a")) == 3
    if not state:
        assert budgets.spent("tier:free", "month")[0] > 0
    print("done")
    embeddings.close()
    router.close()
"""


SURVIVOR = """
import os, signal, subprocess, sys
from decimal import Decimal
from router_runtime.budgets import Budgets, Limit
from router_runtime.memory import Memory
from router_runtime.memory.access import Access

folder = sys.argv[1]
limit = Limit("tier:free", "month", usd=Decimal(100))

def opened():
    memory = Memory.open(folder + "/memory.sqlite", lambda who: Access(who, {"s"}, {"s"}, "s"))
    return Budgets(folder + "/budgets.sqlite", clock=lambda: 1e9), memory

def write():
    budgets.reserve([limit], 1)
    assert budgets.headroom([limit]).usd < 100
    memory.write("a", "a fact")

def child_writes():
    os.write(tell_child, b".")
    os.read(hear_child, 1)

LOOK = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA user_version').fetchall()"

budgets, memory = opened()
write()
hear_parent, tell_child = os.pipe()
hear_child, tell_parent = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(20)
    for _ in range(2):
        os.read(hear_parent, 1)
        write()
        os.write(tell_parent, b".")
    signal.pause()
write()
child_writes()
budgets.close(), memory.close()
for name in ("budgets", "memory"):  # a process that passes by deletes the log of what nobody else has locked
    subprocess.run([sys.executable, "-c", LOOK, f"{folder}/{name}.sqlite"], check=True)
child_writes()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
budgets, memory = opened()
print("done", budgets.spent("tier:free", "month")[0], len(memory.search("fact", reader="a")))
"""


def run(script: str, folder: Path, state: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(folder), state],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["done"]), done.stderr
    return done.stdout


def test_calls_budgets_log_and_memory_work_in_a_forked_child(tmp_path: Path) -> None:
    run(SERVICE, tmp_path)


def test_a_forked_child_shares_what_replicas_share(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with RedisServer() as redis:
        run(SERVICE, tmp_path, redis.url)


def test_what_a_forked_child_wrote_survives_its_parent_and_kill_9(tmp_path: Path) -> None:
    assert run(SURVIVOR, tmp_path).split() == ["done", "4", "4"]

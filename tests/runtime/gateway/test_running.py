"""The gateway as a process: it starts soon, takes over new files under load, outlives its log, and drains."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_runtime.gateway.log_care import seal_once
from router_runtime.gateway.settings import GatewaySettings
from router_runtime.outcome_log import OutcomeLog
from router_runtime.stores.base import Row
from router_runtime.stores.spool import Spool
from tests.conftest import ROOT
from tests.provider_server import ProviderServer, Received, Script, Sleep, stream
from tests.runtime.execution.wires import TEXT, WIRES, good
from tests.runtime.gateway.house import Gateway, registry_at, running

OPENAI = WIRES[0]
CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Which track?"}]}
_SERVE = "import sys; from router_runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"


def answer(got: Received) -> Script:
    if b"slow" in got.body:
        return stream(OPENAI.parts(TEXT), gap=0.15)
    return good(OPENAI, b'"stream":true' in got.body)


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer(answer, keep=False) as server:
        yield server


def registry_text(url: str, price: int = 1) -> str:
    return (
        f"providers: {{p: {{adapter: openai, base_url: '{url}/v1'}}}}\n"
        f"models: {{m: {{provider: p, prices: [{{valid_from: 2026-04-01, input: {price}, output: {price}}}]}}}}\n"
    )


@contextmanager
def served(folder: Path, url: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``pointsman serve`` in a process of its own: its URL, and the process."""
    (folder / "registry.yaml").write_text(registry_text(url))
    where = ["--registry", str(folder / "registry.yaml"), "--state", str(folder / "state"), "--port", "0"]
    command = [sys.executable, "-c", _SERVE, "serve", *where, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
        try:
            assert child.stderr is not None
            line = child.stderr.readline()
            assert "serves http://" in line, line + child.stderr.read()
            yield line.split()[-1], child
        finally:
            child.kill()


def test_it_serves_and_drains(provider: ProviderServer, tmp_path: Path) -> None:
    """On SIGTERM ``/ready`` says no, the listener closes, and a stream under way comes to its end."""
    options = ["--insecure-local", "--log", str(tmp_path / "log"), "--ready-delay-s", "0.3"]
    with served(tmp_path, provider.url, *options) as (url, child), httpx.Client(timeout=20) as client:
        body = {**ASK, "stream": True, "messages": [{"role": "user", "content": "slow"}]}
        with client.stream("POST", url + CHAT, json=body) as response:
            lines = response.iter_lines()
            first = next(lines)
            child.send_signal(signal.SIGTERM)
            refused = 0
            until = time.monotonic() + 5
            while refused != 503 and time.monotonic() < until:
                refused = httpx.get(url + "/ready").status_code
            assert refused == 503
            rest = [line for line in lines if line]
        assert child.wait(10) in (0, -signal.SIGTERM)
    chunks = [json.loads(line.removeprefix("data: ")) for line in [first, *rest[:-1]]]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == TEXT
    assert rest[-1] == "data: [DONE]"


def test_draining_is_bounded(provider: ProviderServer, tmp_path: Path) -> None:
    provider.push([Sleep(60)])
    options = ["--insecure-local", "--drain-s", "1"]
    with served(tmp_path, provider.url, *options) as (url, child), ThreadPoolExecutor(1) as pool:
        asking = pool.submit(httpx.post, url + CHAT, json=ASK, timeout=30)
        until = time.monotonic() + 10
        while not provider.connections and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        child.wait(10)
        assert (asking.result().status_code, asking.result().json()["error"]["code"]) == (503, "shutting_down")


def test_keys_made_by_command_open_the_door(provider: ProviderServer, tmp_path: Path) -> None:
    with served(tmp_path, provider.url) as (url, _):
        assert httpx.post(url + CHAT, json=ASK).status_code == 401
        made = ["keys", "create", "--name", "app", "--json", "--state", str(tmp_path / "state")]
        done = subprocess.run(
            [sys.executable, "-c", _SERVE, *made], capture_output=True, text=True, check=True, cwd=ROOT
        )
        headers = {"authorization": f"Bearer {json.loads(done.stdout)['key']}"}
        until = time.monotonic() + 5
        status = 401
        while status == 401 and time.monotonic() < until:
            status = httpx.post(url + CHAT, json=ASK, headers=headers).status_code
        assert status == 200


def test_keys_are_never_put_into_a_folder_that_a_url_names(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SERVE, "keys", "create", "--name", "app", "--state", "redis://127.0.0.1:9/0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "keys are kept in a folder" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--insecure-local", "--host", "0.0.0.0"], "no loopback address"),
        (["--registry", "no-such-file.yaml"], "no-such-file.yaml"),
        (["--bundle", "no-such-folder", "--insecure-local"], "no-such-folder"),
        (["--keep", "90d", "--insecure-local"], "--log"),
    ],
)
def test_it_says_why_it_does_not_start(tmp_path: Path, options: Sequence[str], words: str) -> None:
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0", "--state", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


async def test_old_days_of_the_log_go(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the store extra is not installed")
    spool = Spool(tmp_path)
    spool.append([Row("old", "feedback", "d", 5.0, "{}"), Row("new", "feedback", "d", time.time(), "{}")])
    spool.close()
    assert await seal_once(tmp_path, None) == 0
    assert len(list(tmp_path.glob("day=*"))) == 2
    assert await seal_once(tmp_path, 36_500 * 86_400.0) == 0
    assert len(list(tmp_path.glob("day=*"))) == 2
    assert await seal_once(tmp_path, 86_400.0) == 0
    (left,) = tmp_path.glob("day=*")
    assert left.name != "day=1970-01-01"


async def asked(client: httpx.AsyncClient, gate: Gateway, until: threading.Event) -> list[int]:
    statuses = []
    while not until.is_set():
        statuses.append((await client.post(gate.url + CHAT, json=ASK)).status_code)
    return statuses


async def test_no_request_fails_while_files_are_taken_over(
    provider: ProviderServer, tmp_path: Path, bundle_folder: Path
) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text(registry_text(provider.url))
    done = threading.Event()
    with running(registry, tmp_path, open_door=True, bundle=bundle_folder) as gate:
        live = gate.service.router.live

        def change() -> None:
            for price in range(2, 22):
                fresh = tmp_path / "fresh.yaml"
                fresh.write_text("nonsense: [" if price % 5 == 0 else registry_text(provider.url, price))
                os.replace(fresh, registry)
                live.refresh()
                live.swap_bundle(bundle_folder)
            done.set()

        thread = threading.Thread(target=change)
        thread.start()
        async with httpx.AsyncClient(timeout=20) as client:
            statuses = await asyncio.gather(*(asked(client, gate, done) for _ in range(8)))
        thread.join()
        assert live.snapshot(time.time()).registry.models["m"].prices[0].input == 21
    seen = [status for some in statuses for status in some]
    assert len(seen) >= 8
    assert set(seen) == {200}


class Stopped:
    """A store that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.rows: list[Row] = []

    def append(self, rows: Sequence[Row]) -> None:
        self.entered.set()
        assert self.go.wait(60)
        self.rows += rows

    def close(self) -> None:
        """Holds nothing."""


def test_requests_are_answered_while_the_store_stands_still(provider: ProviderServer, tmp_path: Path) -> None:
    store = Stopped()
    log = OutcomeLog(store)
    with running(registry_at(provider.url), tmp_path, open_door=True, log=log) as gate:
        with httpx.Client() as client:
            for _ in range(100):
                assert client.post(gate.url + CHAT, json=ASK).status_code == 200
        assert store.entered.wait(10)
        assert store.rows == []
        said = {"json": {"decision_id": "d", "score": 1}}
        waiting = threading.Thread(target=httpx.post, args=(f"{gate.url}/v1/feedback",), kwargs=said)
        waiting.start()
        assert httpx.post(gate.url + CHAT, json=ASK).status_code == 200, "one who waits for the log holds nobody up"
        store.go.set()
        waiting.join()
    assert [row.kind for row in store.rows].count("decision") == 101
    assert [row.kind for row in store.rows].count("feedback") == 1


def test_a_full_gateway_says_when_to_come_again(provider: ProviderServer, tmp_path: Path) -> None:
    settings = GatewaySettings(max_connections=2, drain_s=5)
    with running(registry_at(provider.url), tmp_path, settings=settings, open_door=True) as gate:
        held = [httpx.Client() for _ in range(2)]
        for client in held:
            client.get(gate.url + "/health")
        refused = httpx.get(gate.url + "/health")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        for client in held:
            client.close()

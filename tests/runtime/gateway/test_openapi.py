"""The gateway's document, and what schemathesis finds by it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from router_runtime.gateway.app import build_app
from router_runtime.gateway.openapi import build_document
from tests.provider_server import ProviderServer
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.gateway.house import Gateway, registry_at, running


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gateway]:
    with (
        ProviderServer(lambda got: good(WIRES[0], b'"stream":true' in got.body), keep=False) as server,
        running(registry_at(server.url), tmp_path / "state", log=tmp_path / "log") as started,
    ):
        yield started


def test_every_path_is_described(gate: Gateway) -> None:
    served = {route.path for route in build_app(gate.service).routes}  # type: ignore[attr-defined]
    described = {path.replace("{model}", "{model:path}") for path in build_document()["paths"]}
    assert described <= served
    assert {path for path in served - described if path.startswith("/v1/")} == set()
    assert httpx.get(f"{gate.url}/openapi.json").json() == build_document()


def test_schemathesis(gate: Gateway) -> None:
    """All of its checks but two: either of two headers opens the door, so that a wrong one beside a right one is no
    fault; and whether a request that is well formed can be served depends on the registry (a max_price that no model
    meets is a 400), which no schema can say."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{gate.url}/openapi.json", "--seed", "1"]
    command += ["--max-examples", "5", "--phases", "coverage,fuzzing", "--continue-on-failure", "--no-color"]
    command += ["--header", f"x-api-key: {gate.key()}", "--exclude-checks", "positive_data_acceptance,ignored_auth"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=gate.state.parent)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: " in done.stdout

"""The official `openai` npm package against the gateway."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.provider_server import ProviderServer, Received, Script, reply, stream
from tests.runtime.execution.wires import TEXT, WIRES, good
from tests.runtime.gateway.house import registry_at, running
from tests.runtime.gateway.wire_tools import tools_streamed, tools_whole

PACKAGE = "openai@6.49.0"
SCRIPT = Path(__file__).with_name("openai_client.mjs")
CALLS: Any = [("weather", {"city": "Oslo"}), ("weather", {"city": "Bergen"})]
BY_NAME = {wire.adapter: wire for wire in WIRES}


def missing(reason: str) -> None:
    """A test that cannot run: a failure where CI should have set it up, else a skip."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def package() -> Path:
    """A folder with the package in its node_modules, installed once into the user's cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("node and npm are not installed; sh .ci/system-packages tests installs them")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman-tests"
    folder = cache / PACKAGE.replace("@", "-")
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache))
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel", "error"]
        command = ["npm", "install", *quiet, "--prefix", str(fresh), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            shutil.rmtree(fresh)
            missing(f"npm could not install {PACKAGE}: {done.stderr[-300:]}")
        try:
            fresh.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return folder


def answer(got: Received) -> Script:
    wire = "anthropic" if got.path.endswith("/messages") else "openai"
    streamed = b'"stream":true' in got.body
    if b'"tools"' in got.body:
        return stream(tools_streamed(wire, CALLS)) if streamed else reply(tools_whole(wire, CALLS))
    return good(BY_NAME[wire], streamed)


def test_the_npm_package(package: Path, tmp_path: Path) -> None:
    with (
        ProviderServer(answer) as server,
        running(registry_at(server.url, ["openai", "anthropic"]), tmp_path) as gate,
    ):
        command = ["node", str(SCRIPT), str(package), f"{gate.url}/v1", gate.key()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["chat"] == seen["streamed"] == seen["response"] == seen["picture"] == TEXT
    assert seen["served"] == ["m-openai", "m-openai"]
    assert seen["usage"] == 15
    assert seen["calls"] == seen["streamedCalls"] == [arguments for _, arguments in CALLS]
    assert (seen["events"][0], seen["events"][-1]) == ("response.created", "response.completed")
    assert seen["errors"] == [
        ["NotFoundError", 404, "model_not_found"],
        ["BadRequestError", 400, "invalid_request"],
        ["AuthenticationError", 401, "invalid_api_key"],
    ]
    assert {"auto", "m-openai", "m-anthropic"} <= set(seen["models"])

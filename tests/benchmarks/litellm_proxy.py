"""The LiteLLM proxy as its users start it, from an environment of its own, for measuring beside it.

It is no dependency: ``python -m venv DIR && DIR/bin/pip install 'litellm[proxy]==1.106.2'`` makes what
``--litellm-venv DIR`` names. One worker, as ours; a callback writes a line for each answer, as our log does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """\
model_list:
  - model_name: auto
    litellm_params: {{model: openai/m0, api_base: "{upstream}", api_key: none}}
litellm_settings:
  callbacks: keep_log.handler
"""

_CALLBACK = """\
import json, os
from litellm.integrations.custom_logger import CustomLogger

class Keep(CustomLogger):
    def __init__(self):
        self.file = open(os.environ["KEEP_LOG"], "a")

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        row = {"model": kwargs.get("model"), "cost": kwargs.get("response_cost"), "start": str(start_time)}
        self.file.write(json.dumps(row) + "\\n")
        self.file.flush()

handler = Keep()
"""


@contextmanager
def litellm_proxy(venv: Path, upstream: str, folder: Path) -> Iterator[str]:
    """A proxy that ends with the block; its URL up to ``/v1``.

    Raises:
        RuntimeError: It did not start within two minutes.
    """
    config = folder / "litellm.yaml"
    config.write_text(_CONFIG.format(upstream=upstream))
    (folder / "keep_log.py").write_text(_CALLBACK)
    port = _free_port()
    command = [venv / "bin" / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    log, quiet = str(folder / "litellm.jsonl"), {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # on a loopback, as our --insecure-local
    child = subprocess.Popen(
        command,
        cwd=folder,
        env={**keep, **quiet, "HOME": str(folder), "KEEP_LOG": log},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health/liveliness", child)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait(15)


def lines_of(folder: Path) -> int:
    """Answers that its callback has logged."""
    file = folder / "litellm.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def _wait(url: str, child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"the LiteLLM proxy did not start (exit status {child.poll()})")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

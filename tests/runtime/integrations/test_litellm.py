"""The plug-in in a real LiteLLM router, which lives in an environment of its own: it is no dependency of ours.

``POINTSMAN_LITELLM_PYTHON`` names that environment's interpreter (with ``litellm``, ``numpy``, ``onnxruntime``).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.provider_server import ProviderServer
from tests.runtime.execution.wires import TEXT, WIRES, good

PYTHON = os.environ.get("POINTSMAN_LITELLM_PYTHON")

REGISTRY = """
providers: {p: {adapter: openai-compatible, base_url: 'http://127.0.0.1:1'}}
models:
  cheap: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 1}]}
  dear: {provider: p, capabilities: [vision, streaming], prices: [{valid_from: 2026-04-01, input: 9, output: 9}]}
policy: {strategy: cost-first, quality_target: 0.1}
"""


@pytest.mark.skipif(PYTHON is None, reason="POINTSMAN_LITELLM_PYTHON names no interpreter that holds LiteLLM")
def test_the_bundle_chooses_inside_litellm(tmp_path):
    registry = tmp_path / "registry.yaml"
    registry.write_text(REGISTRY)
    script = Path(__file__).with_name("litellm_calls.py")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    with ProviderServer(lambda got: good(WIRES[0], b'"stream":true' in got.body.replace(b" ", b""))) as server:
        command = [str(PYTHON), str(script), f"{server.url}/v1", str(registry)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["groups"] == {"cheap": "cheap", "dear": "dear"}
    assert found["auto"] == found["sync"] == "id-cheap"
    assert found["vision"] == "id-dear"
    assert found["named"] == "id-unknown-here"
    assert found["streamed"] == TEXT
    assert found["cheap cools down"] == "id-dear"

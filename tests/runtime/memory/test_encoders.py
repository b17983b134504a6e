"""Encoders by configuration: a provider's endpoint against a real server, and a small ONNX model made here."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from router_runtime.errors import ConfigError, RegistryError
from router_runtime.memory import HashEncoder, Memory, open_encoder, open_memory
from router_runtime.memory.endpoint_encoder import MAX_CHARS, EndpointEncoder
from router_runtime.onnx_encoder import OnnxEncoder
from router_runtime.onnx_weights import weight_files
from router_runtime.opening import open_local
from router_runtime.provider_errors import AuthFailed, CallTimeout, ConnectFailed, MalformedAnswer, ProviderError
from router_runtime.registry import ProviderEntry, Registry
from router_runtime.registry_agents import AgentEntry, OnnxEncoderEntry
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry
from tests.local_encoder import TABLE, write_encoder
from tests.provider_server import ProviderServer, Received, Script, Stall, reply

KEY = "sk-very-secret"


def letters(text: str) -> list[float]:
    """Something like an embedding: how often a, b and c stand in a text."""
    return [float(text.count(letter)) for letter in "abc"]


def endpoint(got: Received) -> Script:
    """Answers as OpenAI does, the last vector first."""
    texts = got.json()["input"]
    rows = [{"object": "embedding", "index": i, "embedding": letters(text)} for i, text in enumerate(texts)]
    return reply({"object": "list", "data": rows[::-1], "usage": {"total_tokens": 1}})


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer(endpoint) as started:
        yield started


def provider(url: str, **more: Any) -> ProviderEntry:
    given = {"api_key_env": "EMBED_KEY", "timeout_s": 10.0, **more}
    return ProviderEntry("house", "openai-compatible", f"{url}/v1", **given)


@pytest.fixture
def encoder(server: ProviderServer) -> Iterator[EndpointEncoder]:
    made = EndpointEncoder(provider(server.url), "embed-1", 3, batch=2, environ={"EMBED_KEY": KEY})
    yield made
    made.close()


def test_the_endpoint_is_asked_in_batches_and_read_by_index(server: ProviderServer, encoder: EndpointEncoder) -> None:
    vectors = encoder.encode(["a", "bb", " ", "ab", "c" * (MAX_CHARS + 5)])
    expected = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0.5**0.5, 0.5**0.5, 0], [0, 0, 1]])
    assert vectors == pytest.approx(expected, abs=1e-6)
    assert vectors.dtype == np.float32
    assert [one.json()["input"] for one in server.received] == [["a", "bb"], ["ab", "c" * MAX_CHARS]]
    first = server.received[0]
    assert (first.path, first.headers["authorization"]) == ("/v1/embeddings", f"Bearer {KEY}")
    assert first.json()["model"] == "embed-1"
    assert encoder.encode([]).shape == (0, 3)


def test_it_can_be_used_again_after_it_was_closed(encoder: EndpointEncoder) -> None:
    for _ in range(2):
        assert encoder.encode(["a"]).tolist() == [[1, 0, 0]]
        encoder.close()


def test_a_fault_that_another_try_may_mend_is_tried_again(server: ProviderServer, encoder: EndpointEncoder) -> None:
    server.push(reply({"error": {"message": "oops"}}, 500), reply({"error": {"message": "full"}}, 503))
    assert encoder.encode(["a"]).tolist() == [[1, 0, 0]]
    assert len(server.received) == 3


ONE = {"index": 0, "embedding": [1, 0, 0]}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"data": [{"index": 0, "embedding": [1, 2]}]}, "2 numbers, the configuration says 3"),
        ({"data": [ONE, ONE]}, "expected 2"),
        ({"data": [ONE]}, "1 vectors, expected 2"),
        ({"data": "none"}, "data is not a list"),
        ({"data": [ONE, {"index": 1, "embedding": [1, None, True]}]}, "not a list of numbers"),
        ({"data": [ONE, {"index": 1, "embedding": "AAAA"}]}, "not a list of numbers"),
        ({"data": [ONE, {"index": 1, "embedding": [1, 2, 10**400]}]}, "too large"),
        ({"data": [ONE, {"index": 1, "embedding": [1, 2, 1e39]}]}, "not finite"),
        (b"[]", "expected an object"),
        (b"<html>", "not JSON"),
    ],
)
def test_answers_that_are_none(
    server: ProviderServer, encoder: EndpointEncoder, answer: dict[str, Any] | bytes, words: str
) -> None:
    server.push(*[reply(answer)] * 3)
    texts = ["a"] if words.startswith("2 numbers") else ["a", "b"]
    with np.errstate(over="ignore"), pytest.raises(MalformedAnswer, match=words):
        encoder.encode(texts)


@pytest.mark.parametrize(
    ("script", "kind", "calls"),
    [
        (reply({"error": {"message": f"wrong key {KEY}", "code": "invalid_api_key"}}, 401), AuthFailed, 1),
        ([Stall()], CallTimeout, 3),
        (reply({"error": {"message": "no such model"}}, 404), ProviderError, 1),
    ],
)
def test_refusals_keep_the_key_and_the_text_to_themselves(
    server: ProviderServer, script: Script, kind: type[Exception], calls: int
) -> None:
    made = EndpointEncoder(provider(server.url, timeout_s=0.3), "embed-1", 3, environ={"EMBED_KEY": KEY})
    server.push(*[script] * 3)
    with pytest.raises(kind) as caught:
        made.encode(["a private text"])
    made.close()
    assert len(server.received) == calls
    assert KEY not in str(caught.value) + repr(caught.value) + repr(made)
    assert "private" not in str(caught.value) + repr(caught.value)


def test_no_server_and_no_key_are_said(server: ProviderServer) -> None:
    lost = EndpointEncoder(provider("http://127.0.0.1:9", api_key_env=None), "m", 3, tries=1)
    with pytest.raises(ConnectFailed):
        lost.encode(["a"])
    lost.close()
    keyless = EndpointEncoder(provider(server.url), "m", 3, environ={})
    with pytest.raises(AuthFailed, match="EMBED_KEY"):
        keyless.encode(["a"])
    keyless.close()


def test_a_local_model_pools_the_mean_of_what_is_no_padding(tmp_path: Path) -> None:
    model, tokenizer = write_encoder(tmp_path)
    made = OnnxEncoder(model, tokenizer, max_tokens=3)
    assert made.dims == 3
    found = made.encode(["cat", "cat car", "", "car car car dog dog", "half \ud800"])
    mixed = np.array([0.8, 2.6, 0]) / np.linalg.norm([0.8, 2.6, 0])  # car car dog: both ends are read
    expected = [[1, 0, 0], [0.5**0.5, 0.5**0.5, 0], [0, 0, 0], mixed, [0, 0, 1]]
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    assert made.encode([]).shape == (0, 3)
    assert made.encode(["", ""]).tolist() == [[0, 0, 0]] * 2
    many = made.encode(["cat", "dog car"] * 40)
    assert many[2] == pytest.approx(many[0])
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (model, tokenizer)]
    assert made.fingerprint == f"onnx-{hashes[0]}-{hashes[1]}-3-ends"


def test_of_a_long_text_both_ends_are_read_within_the_tokenizers_marks(tmp_path: Path) -> None:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog")
    model, path = write_encoder(tmp_path, np.eye(len(words), dtype=np.float32), words)
    tokenizer = Tokenizer.from_file(str(path))
    marks = [(mark, words.index(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    tokenizer.enable_truncation(4)  # what the file asks for is not what the registry asks for
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(path))
    made = OnnxEncoder(model, path, max_tokens=8)
    long, short, one = made.encode(["cat " * 100 + "dog " * 100, "cat dog", "cat " * 6])
    assert long == pytest.approx(np.array([0, 0, 1, 1, 5, 1]) / 28**0.5, abs=1e-6)
    assert short == pytest.approx(np.array([0, 0, 1, 1, 1, 1]) / 2, abs=1e-6)
    assert one == pytest.approx(np.array([0, 0, 1, 1, 6, 0]) / 38**0.5, abs=1e-6)
    assert OnnxEncoder(model, path, max_tokens=1).encode(["dog " * 9])[0].argmax() == words.index("[CLS]")


def test_weights_that_lie_beside_the_graph_belong_to_the_fingerprint(tmp_path: Path) -> None:
    model, tokenizer = write_encoder(tmp_path)
    place = "weights of the table " * 8 + ".data"  # longer than a length of one byte says
    onnx.save(onnx.load(model), str(model), save_as_external_data=True, location=place, size_threshold=0)
    entry = OnnxEncoderEntry(str(model), str(tokenizer))
    first = open_local(entry)
    assert open_local(entry) is first
    assert weight_files(model) == [tmp_path / place]
    numbers = np.fromfile(tmp_path / place, dtype=np.float32)
    numbers[6:9] = [0, 0, 1]  # of "cat"
    numbers.tofile(tmp_path / "other")
    (tmp_path / "other").replace(tmp_path / place)
    second = open_local(entry)
    assert second.fingerprint != first.fingerprint
    assert (first.encode(["cat"]).tolist(), second.encode(["cat"]).tolist()) == ([[1, 0, 0]], [[0, 0, 1]])
    (tmp_path / place).unlink()
    with pytest.raises(ConfigError, match="no model that onnxruntime"):
        open_local(entry)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_an_error(tmp_path: Path, number: float) -> None:
    table = TABLE.copy()
    table[3, 0] = number
    made = OnnxEncoder(*write_encoder(tmp_path, table))
    assert made.encode(["cat"]).tolist() == [[1, 0, 0]]
    with pytest.raises(ConfigError, match="not finite"):
        made.encode(["cat", "dog cat"])


def test_files_that_are_no_encoder_are_refused(tmp_path: Path) -> None:
    model, tokenizer = write_encoder(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        OnnxEncoder(tmp_path / "none.onnx", tokenizer)
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        OnnxEncoder(model, _text(tmp_path / "t.json", "{}"))
    with pytest.raises(ConfigError, match="no model that onnxruntime"):
        OnnxEncoder(_text(tmp_path / "m.onnx", "x"), tokenizer)
    with pytest.raises(ConfigError, match="do model and tokenizer fit"):
        OnnxEncoder(write_encoder(tmp_path, TABLE[:2])[0], tokenizer).encode(["car"])


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def written(tmp_path: Path, encoder: str) -> Registry:
    text = DEFAULT_REGISTRY.read_text()
    (tmp_path / "registry.yaml").write_text(f"{text}\nmemory: {{encoder: {encoder}}}\n")
    return load_registry(tmp_path / "registry.yaml")


def test_the_registry_names_the_encoder(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    assert isinstance(open_encoder(load_registry()), HashEncoder)
    local = open_encoder(written(tmp_path, "{onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 64}"))
    assert isinstance(local, OnnxEncoder)
    assert local.fingerprint.endswith("-64-ends")
    far = open_encoder(written(tmp_path, "{provider: openai, model: text-embedding-3-small, dims: 1536}"))
    assert isinstance(far, EndpointEncoder)
    assert (far.dims, "text-embedding-3-small" in far.fingerprint) == (1536, True)
    for wrong, words in {
        "{provider: opnai, model: m, dims: 3}": "did you mean 'openai'",
        "{provider: openai, model: m}": "lacks the key 'dims'",
        "{onnx: m.onnx}": "lacks the key 'tokenizer'",
        "{onnx: m.onnx, tokenizer: t, dim: 3}": "unknown key 'dim'",
    }.items():
        with pytest.raises(RegistryError, match=words):
            written(tmp_path, wrong)


def test_another_encoder_encodes_again(tmp_path: Path, server: ProviderServer) -> None:
    """What the hash encoder wrote is found by the model's vectors after ``reembed``, and by its words before."""
    write_encoder(tmp_path)
    plain = replace(load_registry(), agents={"one": AgentEntry("one")})
    local = replace(written(tmp_path, "{onnx: model.onnx, tokenizer: tokenizer.json}"), agents=plain.agents)
    place = tmp_path / "memory.sqlite"
    first = open_memory(place, lambda: plain)
    first.write("one", "dog")
    first.close()
    again: Memory = open_memory(place, lambda: local)
    assert again.search("cat", reader="one") == []
    assert again.reembed() == 1
    (hit,) = again.search("cat", reader="one")
    assert (hit.entry.text, hit.by_words, hit.by_meaning) == ("dog", None, 1)
    again.close()


def test_without_the_extra_nothing_of_it_is_loaded() -> None:
    code = "import sys, json, router_runtime.memory; print(json.dumps('tokenizers' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False

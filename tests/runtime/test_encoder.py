"""Bundles that were trained with an encoder: what it tells them, who refuses them, and what happens when it fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime import Router, explain
from router_runtime.bundle import Bundle, open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.encoder import MAX_CHARS, TextEncoder, Vector
from router_runtime.errors import BundleFormatError, ConfigError, EncoderMismatch, PredictionError, RegistryError
from router_runtime.features import STRUCTURAL, extract
from router_runtime.hooks import PredictionFailed, Swapped, SwapRefused
from router_runtime.messages import Request
from router_runtime.opening import text_encoder
from router_runtime.registry import Registry
from router_runtime.registry_agents import AgentEntry
from router_runtime.registry_reader import load_registry, parse_registry
from tests.conftest import Clock, registry_text
from tests.local_encoder import TABLE, write_encoder
from tests.provider_server import ProviderServer
from tests.runtime.execution.wires import TEXT, WIRES, good
from tests.runtime.gateway.house import registry_at, running
from tests.training.graph_examples import linear_parts
from training.export import export_graph

NAMED = "encoder: {onnx: model.onnx, tokenizer: tokenizer.json}\n"
SHORTER = NAMED.replace("}", ", max_tokens: 7}")


def write_registry(folder: Path, encoder: str = NAMED) -> Path:
    path = folder / "registry.yaml"
    path.write_text(registry_text(3, extra=encoder))
    return path


def write_reading(folder: Path, note: dict[str, Any], dims: int = 3) -> Path:
    """A bundle whose first model is good at cats and bad at cars, whatever the words are."""
    parts = linear_parts(dims=dims)
    dense = parts.text.dense.copy()
    dense[len(STRUCTURAL) :, 0] = 60 * np.resize([1, -1, 0], dims)
    parts = replace(parts, text=replace(parts.text, dense=dense))
    told = {"models": [{"name": name} for name in parts.models], "domains": list(parts.domains), "encoder": note}
    write_bundle(folder, export_graph(parts), told, "# Reads with an encoder\n")
    return folder


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A registry that names an encoder, and ``bundle``, trained with it."""
    write_encoder(tmp_path)
    encoder = text_encoder(load_registry(write_registry(tmp_path)))
    assert encoder is not None
    write_reading(tmp_path / "bundle", {"fingerprint": encoder.fingerprint, "dims": encoder.dims})
    return tmp_path


def opened(house: Path, bundle: str = "bundle", **settings: Any) -> Router:
    return Router.open(house / bundle, registry=house / "registry.yaml", **{"state_dir": None, "seed": 1, **settings})


def qualities(router: Router, text: str) -> dict[str, float]:
    return {one.model: one.quality for one in router.route(text).candidates}


def test_the_meaning_moves_the_decision(house: Path) -> None:
    router = opened(house)
    assert router.runs_encoder()
    cats, cars = (router.route(f"Tell me of my {word}") for word in ("cat", "car"))
    assert cats.policy == cars.policy == "balanced"
    good_at, bad_at = ({one.model: one.quality for one in found.candidates}["model-0"] for found in (cats, cars))
    assert good_at > 0.6 > 0.4 > bad_at
    bundle = router.live.snapshot(0.0).bundle
    assert bundle is not None
    vector = np.mean([TABLE[1]] * 4 + [TABLE[2]], axis=0)
    features = extract(Request("Tell me of my cat"))._replace(embedding=vector / np.linalg.norm(vector))
    found = bundle.scorer.predict(features, np.arange(3), np.zeros((3, 3), np.float32))
    assert good_at == pytest.approx(float(found.quality[0]), abs=1e-6)


@pytest.mark.parametrize(("encoder", "words"), [("", "the registry names none: add encoder"), (SHORTER, "train again")])
def test_beside_another_registry_it_is_refused(house: Path, encoder: str, words: str) -> None:
    write_registry(house, encoder)
    with pytest.raises(EncoderMismatch, match=words) as caught:
        opened(house)
    assert str(house / "bundle") in str(caught.value)


def test_a_bundle_that_reads_words_alone_needs_nothing_of_it(house: Path, bundle: Bundle) -> None:
    (house / "model.onnx").unlink()
    router = Router.open(bundle, registry=house / "registry.yaml", state_dir=None)
    assert not router.runs_encoder()
    assert router.route("cat").policy == "balanced"
    with pytest.raises(ConfigError, match=r"model\.onnx cannot be read"):
        opened(house)


def test_a_running_router_takes_bundle_and_encoder_over_in_any_order(house: Path, bundle_folder: Path) -> None:
    write_registry(house, "")
    events: list[Any] = []
    (house / "served").symlink_to(bundle_folder)
    router = opened(house, "served", observers=[events.append])
    with pytest.raises(EncoderMismatch):
        router.live.swap_bundle(house / "bundle")
    plain, reading = open_bundle(bundle_folder).version, open_bundle(house / "bundle").version
    assert router.route("cat").bundle_version == plain
    (house / "served").unlink()
    (house / "served").symlink_to(house / "bundle")
    router.live.refresh()
    assert isinstance(events[-1], SwapRefused)
    assert router.route("cat").bundle_version == plain, "the old one keeps serving"
    write_registry(house)
    router.live.refresh()
    assert {one.what for one in events if isinstance(one, Swapped)} == {"registry", "bundle"}
    assert router.route("cat").bundle_version == reading
    write_registry(house, SHORTER)
    router.live.refresh()
    decision = router.route("cat")
    assert (decision.bundle_version, decision.policy) == (reading, "balanced"), "it keeps the encoder that it has"


def test_an_arm_has_its_own(house: Path, bundle_folder: Path, clock: Clock) -> None:
    for encoder, arms in (("", {None}), (NAMED, {None, "canary"})):
        write_registry(house, encoder + "canary: {bundle: bundle, share: 0.5}\n")
        router = Router.open(bundle_folder, registry=house / "registry.yaml", state_dir=None, clock=clock, seed=1)
        assert router.runs_encoder() == (encoder == NAMED)
        decisions = [router.route("cat", session=f"s{i}") for i in range(20)]
        versions = {one.bundle_version for one in decisions}
        assert len(versions) == len(arms)
        assert {one.policy for one in decisions} == {"balanced"}


def test_an_encoder_that_fails_costs_no_decision(house: Path) -> None:
    write_encoder(house, TABLE[:4])  # the tokenizer knows a word that the model does not
    encoder = text_encoder(load_registry(house / "registry.yaml"))
    assert encoder is not None
    write_reading(house / "bundle", {"fingerprint": encoder.fingerprint, "dims": 3})
    events: list[Any] = []
    router = opened(house, observers=[events.append])
    assert router.route("my cat").policy == "balanced"
    assert router.route("my car").policy == "static"
    failed = [one for one in events if isinstance(one, PredictionFailed)]
    assert [str(one.error) for one in failed] == ["encoder: the model fails on its input; do model and tokenizer fit?"]
    assert router.counts["predictions_failed"] == 1
    choice = replace_agents(router, "one").agents.match("my car")
    assert choice.name == "one", "agents are chosen without it, too"


async def test_decisions_leave_the_event_loop_and_its_usual_threads_to_others(house: Path, bundle: Bundle) -> None:
    def thread() -> str:
        return threading.current_thread().name

    assert (await opened(house).off_loop(thread)).startswith("pointsman-decide")
    plain = Router.open(bundle, registry=house / "registry.yaml", state_dir=None)
    assert await plain.off_loop(thread) == thread()


def test_a_vector_that_is_not_finite_costs_no_decision(house: Path) -> None:
    table = TABLE.copy()
    table[2] = np.nan  # of "cat"
    write_encoder(house, table)
    encoder = text_encoder(load_registry(house / "registry.yaml"))
    assert encoder is not None
    write_reading(house / "odd", {"fingerprint": encoder.fingerprint, "dims": encoder.dims})
    router = opened(house, "odd")
    assert [router.route(text).policy for text in ("my car", "my cat")] == ["balanced", "static"]
    assert router.counts["predictions_failed"] == 1


def replace_agents(router: Router, *names: str) -> Router:
    snapshot = router.live.snapshot(0.0)
    known = replace(snapshot.registry, agents={name: AgentEntry(name) for name in names})
    return Router.open(snapshot.bundle, registry=known, state_dir=None)


def test_explain_says_what_a_word_means_to_the_encoder(house: Path) -> None:
    router = opened(house)
    found = explain(router, "my cat", models=["model-0"])
    change = {one.name: one.change for one in found.influences}["cat"]
    both, without = (qualities(router, text)["model-0"] for text in ("my cat", "my "))
    assert change > 0.03
    assert change == pytest.approx(both - without, abs=0.05), "but for what structure says of the shorter text"


@pytest.mark.parametrize(
    "note",
    [{}, {"fingerprint": "x"}, {"dims": 3}, {"fingerprint": 1, "dims": 3}, {"fingerprint": "x", "dims": 0}, "x", []],
)
def test_a_manifest_that_tells_no_encoder_is_refused(house: Path, note: Any) -> None:
    with pytest.raises(BundleFormatError, match="encoder must tell"):
        write_reading(house / "other", note)
    assert not (house / "other").exists()


@pytest.mark.parametrize("dims", [0, 2, 4])
def test_graph_and_manifest_must_agree(house: Path, dims: int) -> None:
    folder = write_reading(house / "other", {"fingerprint": "x", "dims": 3}, dims)
    with pytest.raises(BundleFormatError, match=f"vectors of {dims} numbers"):
        open_bundle(folder)


def test_the_graph_alone_says_what_it_lacks(house: Path) -> None:
    bundle = open_bundle(house / "bundle")
    with pytest.raises(PredictionError, match="trained with an encoder, and none has read"):
        bundle.scorer.predict(extract(Request("x")), np.arange(3), np.zeros((3, 3), np.float32))
    assert bundle.reading_with(text_encoder(load_registry(house / "registry.yaml"))) is not bundle


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("encoder: {onnx: m}", "lacks the key 'tokenizer'"),
        ("encoder: {onnx: m, tokenizer: t, maxtokens: 3}", "did you mean 'max_tokens'"),
        ("encoder: {provider: p, model: m, dims: 3}", "unknown key 'provider'"),
        ("encoder: m.onnx", "mapping"),
    ],
)
def test_the_registry_is_checked(text: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words) as caught:
        parse_registry(registry_text(2, extra=text + "\n").encode())
    assert caught.value.line is not None


@given(st.text(max_size=60))
def test_any_text_has_a_vector(text: str) -> None:
    encoder = TextEncoder(Counting())
    first, again = encoder.vector(text), encoder.vector(text)
    assert first is again
    assert not first.flags.writeable


def test_of_a_long_text_both_ends_are_read() -> None:
    counting = Counting()
    encoder = TextEncoder(counting)
    encoder.vector("x" * 1_000_000)
    encoder.vector("x" * (MAX_CHARS + 1))
    assert counting.lengths == [MAX_CHARS], "and only once"
    encoder.vector("x" * 1_000_000 + "?")
    encoder.vector("x" * MAX_CHARS)
    assert counting.lengths == [MAX_CHARS] * 3


class Counting:
    """Remembers what it was given."""

    fingerprint, dims = "counting", 3

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def encode(self, texts: Sequence[str]) -> Vector:
        self.lengths += map(len, texts)
        return np.ones((len(texts), 3), dtype=np.float32)


class Held(Counting):
    """Answers only once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> Vector:
        self.entered.set()
        assert self.free.wait(20), "the event loop, which lets go, was held up"
        return super().encode(texts)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def slow(tmp_path: Path, held: Held) -> Bundle:
    """A bundle with an encoder that answers only once it is let go."""
    folder = write_reading(tmp_path / "slow", {"fingerprint": held.fingerprint, "dims": held.dims})
    return open_bundle(folder).reading_with(TextEncoder(held))


@pytest.fixture
def upstream() -> Iterator[ProviderServer]:
    with ProviderServer(lambda got: good(WIRES[0], b'"stream":true' in got.body)) as started:
        yield started


def unhurried(url: str) -> Registry:
    """A decision may take as long as the test needs."""
    known = registry_at(url, agents={"one": AgentEntry("one")})
    return replace(known, policy=replace(known.policy, deadline_ms=60_000.0))


async def test_calls_do_not_hold_up_the_event_loop(slow: Bundle, held: Held, upstream: ProviderServer) -> None:
    async with Router.open(slow, registry=unhurried(upstream.url), state_dir=None) as router:
        for call in (router.complete, router.agent("one").complete):
            held.entered.clear()
            held.free.clear()
            waiting = asyncio.create_task(call(f"Which track? {call}"))
            while not held.entered.is_set():
                await asyncio.sleep(0.001)
            held.free.set()
            answer = await waiting
            assert (answer.text, answer.decision.policy) == (TEXT, "balanced")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "auto"}),
        ("/v1/chat/completions", {"model": "auto", "stream": True}),
        ("/v1/chat/completions", {"model": "agent/one"}),
        ("/v1/route", {}),
        ("/v1/route", {"explain": True}),
        ("/v1/agents/match", {}),
    ],
)
def test_the_gateway_answers_others_meanwhile(
    slow: Bundle, held: Held, upstream: ProviderServer, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    ask = {"messages": [{"role": "user", "content": "Which track?"}], **body}
    known = unhurried(upstream.url)
    with running(known, tmp_path, open_door=True, bundle=slow) as gate, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{gate.url}{path}", json=ask, timeout=30)
        assert held.entered.wait(20)
        try:
            assert httpx.get(f"{gate.url}/health", timeout=10).status_code == 200
        finally:
            held.free.set()
        assert waiting.result().status_code == 200, waiting.result().text

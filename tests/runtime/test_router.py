import json
import pickle
import threading
import typing

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from router_runtime import Router, explain
from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.errors import (
    BundleError,
    ConfigError,
    NoCandidateError,
    PointsmanError,
    PredictionError,
    RegistryError,
    RequestError,
    UnknownModelError,
)
from router_runtime.features import extract
from router_runtime.filters import estimate_tokens
from router_runtime.health import Health
from router_runtime.hooks import DeadlineMissed, Decided, PredictionFailed, Swapped, SwapRefused
from router_runtime.messages import Request, read_request
from router_runtime.options import Options, RouteOptions
from router_runtime.overrides import disable, enable
from router_runtime.policy import draw
from router_runtime.records import to_dict
from router_runtime.registry_reader import parse_registry
from tests.conftest import Clock, registry_of, registry_text

IMAGE = [
    {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}]}
]


@pytest.fixture(scope="module")
def small_router(bundle):
    return opened(bundle, registry=registry_of(8))


def opened(bundle=None, **kwargs):
    return Router.open(bundle, **{"state_dir": None, "seed": 1, **kwargs})


def test_a_decision_holds_all_that_is_needed_to_learn_from_it(bundle, clock):
    router = opened(bundle, registry=registry_of(20), clock=clock)
    decision = router.route("Hello there", session="s", user="ann", tier=None, labels=["code"])
    assert sum(decision.action_dist.values()) == pytest.approx(1.0)
    assert decision.propensity == decision.action_dist[decision.chosen] == 1.0
    assert [c.score for c in decision.candidates] == sorted((c.score for c in decision.candidates), reverse=True)
    assert sum(c.known for c in decision.candidates) == 3
    assert decision.bundle_version == bundle.version
    assert decision.time == clock.now
    assert (decision.session, decision.labels, decision.policy) == ("s", ("code",), "balanced")
    assert decision.user_hash is not None
    assert "ann" not in json.dumps(to_dict(decision))
    assert decision.prompt is None
    assert decision.task.domain in bundle.manifest.domains


def test_the_predictions_are_the_bundles(bundle):
    router = opened(bundle, registry=registry_of(5))
    text = "Prove it, заново, 汉字"
    decision = router.route(text)
    features = extract(Request(text))
    found = bundle.scorer.predict(features, np.arange(3), np.zeros((3, 3), np.float32))
    by_name = {c.model: c for c in decision.candidates}
    for place in range(3):
        candidate = by_name[f"model-{place}"]
        assert candidate.quality == pytest.approx(float(found.quality[place]))
        assert candidate.output_tokens == pytest.approx(float(found.output_tokens[place]))
        prices = (place + 1) * 1e-6, (2 * place + 2) * 1e-6
        tokens = candidate.input_tokens, candidate.output_tokens
        assert candidate.cost_usd == pytest.approx(prices[0] * tokens[0] + prices[1] * tokens[1])


def test_prompt_tokens_are_counted_as_each_provider_counts_them(bundle_copy):
    manifest = bundle_copy / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["models"][0]["input_scale"], raw["models"][1]["input_scale"] = 1.9, 0.7
    manifest.write_text(json.dumps(raw))
    router, plain = opened(bundle_copy, registry=registry_of(4)), estimate_tokens(Request("some words " * 4000))
    decision = router.route("some words " * 4000)
    by_name = {c.model: c for c in decision.candidates}
    assert [by_name[f"model-{n}"].input_tokens / plain for n in (0, 1, 2, 1003)] == pytest.approx([1.9, 0.7, 1.0, 1.0])
    for place in range(2):
        found, prices = by_name[f"model-{place}"], ((place + 1) * 1e-6, (2 * place + 2) * 1e-6)
        assert found.cost_usd == pytest.approx(found.input_tokens * prices[0] + found.output_tokens * prices[1])
    narrow = registry_text(4).replace("model-0: {", "model-0: {context_window: 15000, ")
    decision = opened(bundle_copy, registry=parse_registry(narrow.encode())).route("some words " * 4000)
    assert decision.filtered == {"model-0": f"context of 15000 tokens, about {int(plain * 1.9)} needed"}


def test_the_same_seed_gives_the_same_decisions_and_the_draw_can_be_repeated(bundle):
    registry = registry_of(6, extra="policy: {exploration: epsilon, epsilon: 0.9, quality_floor: 0}")
    first = [opened(bundle, registry=registry, clock=lambda: 1e9).route(f"text {n}") for n in range(5)]
    router = opened(bundle, registry=registry, clock=lambda: 1e9)
    again = [router.route("text 0") for _ in range(50)]
    assert first[0].id == again[0].id
    assert len({d.id for d in again}) == 50
    assert len({d.chosen for d in again}) > 2
    for decision in again:
        by_view = [decision.action_dist[m] for m in registry.models]
        assert list(registry.models)[draw(np.array(by_view), decision.seed)] == decision.chosen
        assert decision.propensity == decision.action_dist[decision.chosen] > 0


def test_without_a_bundle_the_static_table_chooses(registry):
    router = opened(registry=registry)
    decision = router.route("Hello")
    assert (decision.policy, decision.bundle_version) == ("static", "none")
    assert decision.chosen == registry.policy.static_order[0]
    assert router.route("x = 1", labels=["code"]).chosen == "claude-opus-4.7"
    assert router.route("x = 1", intent="classify_message").chosen == "deepseek-v4-flash"
    assert router.route("x", strategy="cost-first", quality_target=0.7).chosen == "deepseek-v4-flash"


def test_filters_say_why(registry):
    router = opened(registry=registry)
    decision = router.route(IMAGE, tier="free")
    assert decision.chosen in ("gemini-3.1-pro", "llama-4-scout")
    assert decision.task.modality == "image"
    assert decision.filtered == {
        "gpt-5.5": "not in the tier free",
        "claude-opus-4.7": "not in the tier free",
        "deepseek-v4-flash": "cannot do vision",
    }
    long = router.route("word " * 600_000)
    assert long.filtered["deepseek-v4-flash"] == "context of 128000 tokens, about 750004 needed"
    assert router.route("hi", model="opus").chosen == "claude-opus-4.7"
    assert router.route("hi", models=["llama", "opus"]).filtered["gpt-5.5"] == "not among the models asked for"
    cheap = router.route("hi", max_cost_usd=0.001)
    assert cheap.filtered["gpt-5.5"].startswith("predicted to cost $0.012")
    assert router.route("hi", tier="private", tools=[{}]).chosen == "llama-4-scout"
    with pytest.raises(NoCandidateError) as caught:
        router.route("hi", models=["opus"], headroom_usd=0.0)
    assert set(caught.value.filtered) == set(registry.models)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tier": "fre"}, ConfigError),
        ({"model": "gpt"}, UnknownModelError),
        ({"models": ["nobody"]}, UnknownModelError),
        ({"trade_off": 2.0}, ConfigError),
        ({"strategy": "cheap"}, ConfigError),
        ({"models": []}, NoCandidateError),
        ({"teir": "free"}, TypeError),
    ],
)
def test_wrong_options_are_refused(registry, options, error):
    with pytest.raises(error):
        opened(registry=registry).route("hi", **options)


def test_an_unknown_intent_is_no_error(registry):
    assert opened(registry=registry).route("hi", intent="make_coffee").intent == "make_coffee"


def test_options_and_their_types_agree():
    assert tuple(typing.get_type_hints(RouteOptions)) == Options._fields


def test_a_late_decision_uses_the_static_table_and_is_counted(bundle):
    moments = iter(np.arange(0, 100, 0.06))
    events = []
    router = opened(bundle, registry=registry_of(4), timer=lambda: float(next(moments)), observers=[events.append])
    decision = router.route("Hello")
    assert decision.policy == "static"
    assert router.counts == {"decisions": 1, "deadline_missed": 1}
    assert isinstance(events[0], DeadlineMissed)
    assert isinstance(events[1], Decided)


@pytest.mark.parametrize("last", ["router.onnx", "MODEL_CARD.md"])
def test_a_copy_is_taken_over_whatever_it_brings_last(bundle_folder, bundle_copy, last):
    other = (bundle_copy / "MODEL_CARD.md").read_text() + "another one\n"
    made = write_bundle(
        bundle_copy.parent / "other",
        open_bundle(bundle_folder).onnx,
        {
            "models": [{"name": f"model-{n}"} for n in range(3)],
            "domains": list(open_bundle(bundle_folder).manifest.domains),
        },
        other,
    )
    events = []
    router = opened(bundle_copy, registry=registry_of(4), observers=[events.append])
    whole = {path.name: path.read_bytes() for path in made.iterdir()}
    for name, data in {**whole, last: whole[last][:10]}.items():
        (bundle_copy / name).write_bytes(data)
    router.live.refresh()
    router.live.refresh(again=True)
    assert [type(event) for event in events] == [SwapRefused, SwapRefused]
    (bundle_copy / last).write_bytes(whole[last])
    router.live.refresh()
    assert router.route("hi").bundle_version == open_bundle(made).version


def test_a_graph_that_fails_costs_no_decision(bundle_copy):
    events = []
    router = opened(open_bundle(bundle_copy), registry=registry_of(4), observers=[events.append])

    def fail(*_given):
        raise ort_errors.RuntimeException("Available memory of 1 is smaller than requested bytes of 2")

    router.live.snapshot(0.0).bundle.scorer._run = fail
    assert router.route("Hello").policy == "static"
    assert router.counts == {"decisions": 1, "predictions_failed": 1}
    assert isinstance(events[0], PredictionFailed)
    assert isinstance(events[0].error, PredictionError)


def test_health_lowers_and_bars_and_never_empties(registry, clock):
    health = Health(clock=clock)
    router = opened(registry=registry, health=health, clock=clock)
    health.failed(("google", "gemini-3.1-pro"), hold_s=30, reason="429")
    decision = router.route("hi")
    assert decision.chosen != "gemini-3.1-pro"
    assert decision.filtered["gemini-3.1-pro"] == "unhealthy or disabled"
    for model in registry.models.values():
        health.failed((model.provider, model.name), hold_s=30)
    assert router.route("hi").chosen in registry.models
    assert len(router.route("hi", max_cost_usd=0.001).candidates) < 5


def test_a_model_that_is_too_dear_is_so_when_it_is_unwell_too(registry):
    router = opened(registry=registry)
    usd = {candidate.model: candidate.cost_usd for candidate in router.route("hi").candidates}
    dearest = max(usd, key=usd.get)
    router.engine.health.failed((registry.models[dearest].provider, dearest), hold_s=30)
    decision = router.route("hi", max_cost_usd=usd[dearest] / 2)
    assert decision.filtered[dearest].startswith("predicted to cost")  # or it would be the call's last resort


def test_all_that_is_said_of_models_holds_together(registry):
    router = opened(registry=registry)
    one, two, three = list(registry.models)[:3]
    assert router.route("hi", order=[two, one], models=[one, three]).chosen == one
    assert router.route("hi", model=one, order=[two, one]).chosen == one
    for apart in ({"model": one, "order": [two]}, {"model": one, "models": [two]}, {"models": []}):
        with pytest.raises(NoCandidateError, match="not among the models asked for"):
            router.route("hi", **apart)


def test_a_disabled_model_comes_back_when_its_time_is_over(registry_file, tmp_path, clock):
    router = opened(registry=registry_file, state_dir=tmp_path / "state", clock=clock)
    first = router.route("hi").chosen
    disable(tmp_path / "state", first, clock.now + 30, clock.now)
    router.live.refresh()
    decision = router.route("hi")
    assert decision.chosen != first
    assert decision.filtered[first].startswith("disabled until 2026-")
    clock.advance(31)
    assert router.route("hi").chosen == first
    disable(tmp_path / "state", first, float("inf"), clock.now)
    router.live.refresh()
    assert router.route("hi").filtered == {first: "disabled"}
    assert enable(tmp_path / "state", first)
    router.live.refresh()
    assert router.route("hi").chosen == first


def test_an_edit_is_taken_over_by_itself_and_a_bad_one_is_refused(registry_file, clock):
    done, events = threading.Event(), []

    def observe(event):
        if isinstance(event, (Swapped, SwapRefused)):
            events.append(event)
            done.set()

    router = opened(registry=registry_file, timer=clock, observers=[observe])
    text = registry_file.read_text()
    registry_file.write_text(
        text.replace("static_order: [gemini-3.1-pro, gpt-5.5,", "static_order: [gpt-5.5, gemini-3.1-pro,")
    )
    assert router.route("hi").chosen == "gemini-3.1-pro"
    clock.advance(1.5)
    router.route("hi")
    assert done.wait(30)
    router.live.refresh()
    assert router.route("hi").chosen == "gpt-5.5"
    registry_file.write_text(text.replace("policy:", "polcy:"))
    router.live.refresh()
    assert isinstance(events[-1], SwapRefused)
    assert "did you mean 'policy'" in str(events[-1].error)
    assert router.route("hi").chosen == "gpt-5.5"


def test_a_clock_that_is_set_back_hides_no_change(registry_file, tmp_path, clock):
    timer, done = Clock(0.0), threading.Event()
    observers = [lambda event: isinstance(event, Swapped) and done.set()]
    state = tmp_path / "state"
    router = opened(registry=registry_file, state_dir=state, clock=clock, timer=timer, observers=observers)
    clock.advance(-3600)
    disable(state, router.route("hi").chosen, float("inf"), clock.now)
    timer.advance(1.5)
    router.route("hi")
    assert done.wait(30)


def test_a_bad_bundle_leaves_the_old_one_serving(bundle_folder, bundle_copy):
    events = []
    router = opened(bundle_copy, registry=registry_of(4), observers=[events.append])
    version = router.route("hi").bundle_version
    (bundle_copy / "manifest.json").write_text("{}")
    router.live.refresh()
    assert isinstance(events[-1], SwapRefused)
    assert router.route("hi").bundle_version == version
    with pytest.raises(BundleError):
        router.live.swap_bundle(bundle_copy)
    router.live.swap_bundle(None)
    assert router.route("hi").policy == "static"
    router.live.swap_bundle(bundle_folder)
    assert router.route("hi").bundle_version == version


def test_a_price_change_needs_no_reload(clock):
    text = """{providers: {p: {adapter: openai, base_url: "http://x"}}, models: {m: {provider: p, prices: [
        {valid_from: 2026-04-01, input: 1, output: 1}, {valid_from: 2027-01-01, input: 2, output: 2}]}}}"""
    router = opened(registry=parse_registry(text.encode()), clock=clock)
    before = router.route("hi")
    clock.advance(365 * 86400)
    after = router.route("hi")
    assert after.best.cost_usd == pytest.approx(2 * before.best.cost_usd)
    assert after.price_version != before.price_version


def test_what_is_kept_of_the_prompt_is_the_callers_choice(bundle):
    registry = registry_of(3)
    assert opened(bundle, registry=registry, log_prompts="full").route("hi").prompt == "hi"
    kept = opened(bundle, registry=registry, log_prompts="features").route("hi")
    assert kept.prompt is None
    assert kept.features["ids"] == extract(Request("hi")).ids.tolist()
    json.dumps(to_dict(kept), allow_nan=False)


def test_a_redacted_prompt_keeps_the_features_of_the_original(bundle):
    text = "write to ann@example.com"
    kept = opened(bundle, registry=registry_of(3), log_prompts="redacted").route(text)
    assert kept.prompt == "write to [email]"
    assert "ann" not in repr(kept)
    assert kept.features["ids"] == extract(Request(text)).ids.tolist()
    assert np.float32(kept.features["structural"]).tolist() == extract(Request(text)).structural.tolist()
    assert to_dict(kept)["prompt"] == "write to [email]"
    assert pickle.loads(pickle.dumps(kept)) == kept


def test_what_is_kept_and_the_salt_are_checked_at_the_start(monkeypatch):
    with pytest.raises(ConfigError, match="log_prompts is 'redact', expected one of full, redacted, features, none"):
        opened(registry=registry_of(3), log_prompts="redact")
    with pytest.raises(ConfigError, match="65 bytes, 64 at most"):
        opened(registry=registry_of(3), user_salt=b"x" * 65)
    usual = opened(registry=registry_of(3)).route("hi", user="ann").user_hash
    monkeypatch.setenv("POINTSMAN_USER_SALT", "ours alone")
    named = opened(registry=registry_of(3))
    assert named.route("hi", user="ann").user_hash == named.route("ho", user="ann").user_hash != usual
    assert "ours alone" not in repr(named.settings)


def test_a_wrong_start_is_refused(tmp_path):
    with pytest.raises(RegistryError):
        opened(registry=tmp_path / "none.yaml")
    with pytest.raises(BundleError):
        opened(tmp_path / "none")


def test_tokens_are_estimated_within_a_factor_of_two_of_the_usual():
    assert estimate_tokens(Request("word " * 1000)) == pytest.approx(1254)
    assert estimate_tokens(Request("汉字" * 1000)) == pytest.approx(1404)
    assert estimate_tokens(Request("")) == 4


LONG = "word " * 80_000
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": LONG}}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": LONG}]},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": LONG}]}]},
        {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": LONG}}]},
        {"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": LONG}}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"text": LONG}}]},
    ],
)
def test_what_stands_inside_parts_and_calls_counts_as_tokens(message):
    assert estimate_tokens(read_request([message])) == pytest.approx(100_000, rel=0.01)


@pytest.mark.parametrize(
    "given", [{"messages": None}, {"messages": 5}, {"messages": "x", "tools": 5}, {"messages": b"x"}]
)
def test_what_is_no_list_is_told(given):
    with pytest.raises(RequestError, match="expected a list"):
        read_request(**given)


def test_parts_inside_parts_have_a_bound():
    content: list = []
    for _ in range(900):
        content = [{"type": "tool_result", "content": content}]
    with pytest.raises(RequestError, match="deeper than 8"):
        read_request([{"role": "user", "content": content}])


def test_an_explanation_names_words_and_numbers(bundle):
    router = opened(bundle, registry=registry_of(4))
    found = explain(router, "alpha betas why whying 12s 汉字", top=5)
    assert 0 < len(found.influences) <= 5
    assert {i.kind for i in explain(router, "alpha betas why", top=1000).influences} == {"word", "number"}
    assert [abs(i.change) for i in found.influences] == sorted((abs(i.change) for i in found.influences), reverse=True)
    assert explain(opened(registry=registry_of(4)), "alpha").influences == ()


@settings(max_examples=150)
@given(
    st.text(max_size=300)
    | st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "tool", "assistant"]), "content": st.text(max_size=40) | st.none()}
        ),
        max_size=4,
    )
)
def test_any_text_is_decided(small_router, messages):
    decision = small_router.route(messages)
    assert decision.chosen in decision.action_dist
    assert all(np.isfinite(c.score) and 0 <= c.quality <= 1 for c in decision.candidates)


def test_threads_may_share_a_router(bundle):
    router = opened(bundle, registry=registry_of(8))
    found = []

    def work():
        found.extend(router.route(f"text {n % 7}").chosen for n in range(200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 800
    assert found.count(found[0]) >= 4


def test_ten_thousand_decisions_leave_no_memory_behind(bundle):
    router = opened(bundle, registry=registry_of(20))
    for n in range(1000):
        router.route(f"warm {n}", trade_off=n / 1000)
    before = psutil.Process().memory_info().rss
    for n in range(10_000):
        router.route(f"text {n}", trade_off=n / 10_000)
    assert psutil.Process().memory_info().rss - before < 16 << 20


def test_refusals_are_of_the_one_tree():
    with pytest.raises(PointsmanError):
        opened(registry=registry_of(3)).route([1])

"""Another bundle for a share of the traffic: who gets it, how it is taken over, and that a bad one harms nobody."""

from __future__ import annotations

import math
import shutil

import pytest

from router_runtime import Router, alternates
from router_runtime.alternates import withdrawn_name
from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import install_bundle, write_bundle
from router_runtime.errors import BundleTampered, RegistryError
from router_runtime.hooks import Swapped, SwapRefused
from router_runtime.overrides import disable, enable
from router_runtime.registry_reader import parse_registry

MODELS = """\
providers: {p: {adapter: openai, base_url: 'http://localhost:1'}}
models:
  model-0: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 2}]}
  model-1: {provider: p, prices: [{valid_from: 2026-04-01, input: 2, output: 4}]}
"""
CANARY = "canary: {bundle: next, share: 0.2}\n"


@pytest.fixture
def house(tmp_path, bundle_folder):
    """A registry file, the champion's bundle, and a canary's that differs in its card alone."""
    (tmp_path / "registry.yaml").write_text(MODELS + CANARY)
    shutil.copytree(bundle_folder, tmp_path / "champion")
    write_another(tmp_path / "next", bundle_folder, "# The canary\n")
    return tmp_path


def write_another(out, source, card):
    opened = open_bundle(source)
    manifest = {
        "models": [{"name": model.name} for model in opened.manifest.models],
        "domains": list(opened.manifest.domains),
    }
    write_bundle(out, opened.onnx, manifest, card)


def opened(house, clock, events=None, **settings):
    return Router.open(
        house / "champion",
        registry=house / "registry.yaml",
        state_dir=house / "state",
        clock=clock,
        observers=() if events is None else (events.append,),
        **settings,
    )


def arms(router, n=400):
    return [router.route("Hello", session=f"s{i}") for i in range(n)]


def test_a_share_of_the_sessions_gets_the_canary_and_its_version_is_recorded(house, clock):
    router = opened(house, clock)
    decisions = arms(router)
    canary = [one for one in decisions if one.arm == "canary"]
    assert 0.13 * 400 < len(canary) < 0.27 * 400
    assert {one.bundle_version for one in canary} == {open_bundle(house / "next").version}
    rest = {one.bundle_version for one in decisions if one.arm is None}
    assert rest == {open_bundle(house / "champion").version}
    again = opened(house, clock)
    assert [one.arm for one in arms(again)] == [one.arm for one in decisions], "the same in every process"


def test_a_bundle_that_comes_while_another_is_read_is_not_missed(house, clock, bundle_folder, monkeypatch):
    router = opened(house, clock)
    usual, late = alternates.open_for, []

    def slow(registry, folder):
        found = usual(registry, folder)
        if not late:
            late.append(write_another(house / "next", bundle_folder, "# While the second is read\n"))
        return found

    monkeypatch.setattr(alternates, "open_for", slow)
    write_another(house / "next", bundle_folder, "# The second\n")
    router.live.refresh()
    assert router.live._others.changed(), "the next look a second later sees it"
    router.live.refresh()
    assert router.live.snapshot(clock()).arms["canary"].bundle.version == open_bundle(house / "next").version


def test_calls_without_a_session_or_with_a_fixed_model_are_not_the_canarys(house, clock):
    (house / "registry.yaml").write_text(MODELS + "canary: {bundle: next, share: 1}\n")
    router = opened(house, clock)
    assert router.route("Hello", session="s").arm == "canary"
    assert router.route("Hello").arm is None
    assert router.route("Hello", user="u").arm is None
    assert router.route("Hello", session="s", model="model-1").arm is None


def test_a_canary_that_does_not_open_leaves_the_champion_serving_and_says_so(house, clock):
    (house / "next" / "router.onnx").write_bytes(b"spoilt")
    events = []
    router = opened(house, clock, events)
    assert {one.arm for one in arms(router, 50)} == {None}
    refused = [event for event in events if isinstance(event, SwapRefused)]
    assert [event.what for event in refused] == ["bundle of canary"]
    assert isinstance(refused[0].error, BundleTampered)


def test_a_new_canary_is_taken_over_and_a_bad_one_leaves_the_former_one(house, clock, bundle_folder):
    events = []
    router = opened(house, clock, events)
    first = open_bundle(house / "next").version
    write_another(house / "next", bundle_folder, "# Another canary\n")
    router.live.refresh()
    second = open_bundle(house / "next").version
    assert second != first
    assert Swapped("bundle of canary", second) in events
    (house / "next" / "router.onnx").write_bytes(b"spoilt")
    (house / "next" / "manifest.json").write_text("{}")
    router.live.refresh()
    assert isinstance(events[-1], SwapRefused)
    assert {one.bundle_version for one in arms(router) if one.arm == "canary"} == {second}


def test_a_withdrawn_canary_gets_no_share_until_it_is_another_one(house, clock, bundle_folder):
    router = opened(house, clock)
    version = open_bundle(house / "next").version
    disable(house / "state", withdrawn_name(version), math.inf, clock())
    router.live.refresh()
    assert {one.arm for one in arms(router)} == {None}
    write_another(house / "next", bundle_folder, "# A better canary\n")
    router.live.refresh()
    assert "canary" in {one.arm for one in arms(router)}
    enable(house / "state", withdrawn_name(version))


def test_removing_the_canary_from_the_registry_ends_it(house, clock):
    router = opened(house, clock)
    (house / "registry.yaml").write_text(MODELS)
    router.live.refresh()
    assert {one.arm for one in arms(router)} == {None}


def test_an_arm_of_an_experiment_may_have_a_bundle_of_its_own(house, clock):
    halves = "experiments: {new: {unit: session, arms: {a: {share: 0.5}, b: {share: 0.5, bundle: next}}}}\n"
    (house / "registry.yaml").write_text(MODELS + halves)
    router = opened(house, clock)
    versions = {one.arm: one.bundle_version for one in arms(router, 100)}
    assert versions == {
        "new/a": open_bundle(house / "champion").version,
        "new/b": open_bundle(house / "next").version,
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("canary: {share: 0.1}\n", "bundle"),
        ("canary: {bundle: x, share: 1.5}\n", "share"),
        ("canary: {bundle: x, share: 0.1, sahre: 1}\n", "share"),
        ("canary: {bundle: x, share: 0.1, guard: {error_rat: 1}}\n", "error_rate"),
        ("canary: {bundle: x, share: 0.1, unit: tenant}\n", "unit"),
    ],
)
def test_the_canary_is_read_strictly(text, reason):
    with pytest.raises(RegistryError, match=reason):
        parse_registry((MODELS + text).encode())


def test_the_guard_is_read():
    text = "canary: {bundle: x, share: 0.1, unit: user, guard: {min_decisions: 50, error_rate: 0.1, cost: 2}}\n"
    canary = parse_registry((MODELS + text).encode()).canary
    assert (canary.unit, canary.guard.min_decisions, canary.guard.error_rate) == ("user", 50, 0.1)
    assert (canary.guard.quality, canary.guard.cost) == (0.05, 2.0)


def test_installing_puts_a_bundle_in_place_at_once_or_not_at_all(house, bundle_folder):
    version = open_bundle(house / "next").version
    assert install_bundle(house / "next", house / "champion").version == version
    assert open_bundle(house / "champion").version == version
    (house / "next" / "router.onnx").write_bytes(b"spoilt")
    with pytest.raises(BundleTampered):
        install_bundle(house / "next", house / "champion")
    assert open_bundle(house / "champion").version == version
    assert not [path for path in house.iterdir() if path.name.startswith(".")]

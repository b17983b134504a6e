"""Promotion and rollback by hand: recorded, applied to what serves, and finished when they were interrupted."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from router_runtime import Router
from router_runtime.bundle import open_bundle
from router_runtime.errors import (
    BundleTampered,
    ConfigError,
    EncoderMismatch,
    NotPromoted,
    RegistryError,
    UnknownVersion,
)
from router_runtime.hooks import Swapped
from router_runtime.manifest import EncoderNote
from tests.training.retrain.conftest import Stopped, stop_at
from tests.training.retrain.weeks import REGISTRY, promoter_of, require_whole, tracker_of
from training.cli import build_parser, load_command, main
from training.promotion import HISTORY, Promoter, Promotion
from training.retrain.state import State


def command(name, house, monkeypatch, *arguments):
    """Runs a command in ``house``."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{house}/mlflow.db")
    module = load_command(name)
    places = ["--out", str(house / "served"), "--state", str(house / "state")]
    return module.run(build_parser(name, module).parse_args([*arguments, *places]))[0]


def test_a_verdict_against_it_needs_force_and_a_reason(kept, monkeypatch):
    with pytest.raises(NotPromoted, match="did not pass the gate: quality"):
        command("promote", kept, monkeypatch, "2")
    with pytest.raises(ConfigError, match="--force needs --reason"):
        command("promote", kept, monkeypatch, "2", "--force")
    assert tracker_of(kept).version("champion").number == "1"


def test_a_forced_promotion_and_its_rollback_are_recorded_and_served(kept, monkeypatch):
    router = Router.open(kept / "served", state_dir=None, observers=())
    first = open_bundle(kept / "served").version
    why = ("--force", "--reason", "tested by hand", "--author", "ada")
    made = command("promote", kept, monkeypatch, "--latest", *why)
    assert (made["version"], made["former"], made["kind"]) == ("2", "1", "forced")
    tags = tracker_of(kept).version("champion").tags
    assert (tags["promoted_by"], tags["promotion_reason"], tags["former_champion"]) == ("ada", "tested by hand", "1")
    router.live.refresh()
    second = router.route("Hello").bundle_version
    assert second == open_bundle(kept / "served").version != first
    back = command("rollback", kept, monkeypatch, "--reason", "complaints", "--author", "bob")
    assert (back["version"], back["former"], back["kind"]) == ("1", "2", "rollback")
    router.live.refresh()
    assert router.route("Hello").bundle_version == first
    tracker = tracker_of(kept)
    assert tracker.version("champion").number == "1"
    gone = tracker.version("2").tags
    assert (gone["rolled_back_by"], gone["rollback_reason"]) == ("bob", "complaints")
    history = [json.loads(value) for key, value in tracker.model_tags().items() if key.startswith(HISTORY)]
    assert sorted(act["kind"] for act in history) == ["forced", "gate", "rollback"]
    with pytest.raises(UnknownVersion, match=r"no champion before it.*promote VERSION"):
        command("rollback", kept, monkeypatch)


def test_a_running_router_takes_the_new_champion_over_by_itself(kept, clock):
    events = []
    router = Router.open(kept / "served", state_dir=None, timer=clock, observers=(events.append,))
    router.route("Hello")
    promoter_of(kept).promote(Promotion("2", "1", "forced", "ada", "why", 0.0))
    clock.advance(2)
    router.route("Hello")
    deadline = time.monotonic() + 30
    while not any(isinstance(event, Swapped) for event in events) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert router.route("Hello").bundle_version == open_bundle(kept / "served").version


@pytest.mark.parametrize("step", ["record", "alias", "serve", "served"])
def test_an_interrupted_promotion_is_finished_by_the_next_command(kept, monkeypatch, step):
    stopping = Promoter(tracker_of(kept), kept / "served", State(kept / "state"), stop_at(step))
    with pytest.raises(Stopped):
        stopping.promote(Promotion("2", "1", "forced", "ada", "why", 0.0))
    require_whole(kept)
    with pytest.raises(NotPromoted):
        command("promote", kept, monkeypatch, "2")  # finishes the first, then asks for the second's own reason
    champion = tracker_of(kept).version("champion")
    assert (champion.number, champion.tags["promoted_by"]) == ("2", "ada")
    assert champion.tags["bundle_sha256"].startswith(open_bundle(kept / "served").version)
    assert not (kept / "state" / "promotion.json").exists()


def test_a_version_whose_bundle_is_not_the_registered_one_changes_nothing(kept):
    tracker_of(kept).tag("2", {"bundle_sha256": "0" * 64})
    before = open_bundle(kept / "served").version
    with pytest.raises(BundleTampered, match="not the one it was registered with"):
        promoter_of(kept).promote(Promotion("2", "1", "forced", "ada", "why", 0.0))
    assert tracker_of(kept).version("champion").number == "1"
    assert open_bundle(kept / "served").version == before
    assert not (kept / "state" / "promotion.json").exists()


def test_unknown_versions_are_refused_in_a_line_that_names_those_there_are(kept, monkeypatch, capsys):
    with pytest.raises(UnknownVersion, match="no version or alias '9' is registered, but versions up to 2, in"):
        command("promote", kept, monkeypatch, "9")
    places = ["--out", str(kept / "served"), "--state", str(kept / "state")]
    assert main(["promote", "9", *places]) == 1, "refused, not wrong usage"
    assert main(["promote", "--latest", "--force", *places]) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{kept}/empty.db")
    assert main(["promote", "--latest", *places]) == 1
    assert main(["rollback", *places]) == 1
    assert capsys.readouterr().err.count("\n") == 4


def test_a_registry_says_whether_the_bundle_can_serve_beside_it(kept, tmp_path, monkeypatch):
    """One that reads by an encoder would be refused by every router; models that nobody serves are named."""
    (tmp_path / "registry.yaml").write_text("""\
providers: {p: {adapter: openai, base_url: 'http://localhost:1'}}
models: {m: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 2}]}}
""")
    where = ("--registry", str(tmp_path / "registry.yaml"))
    made = command("promote", kept, monkeypatch, "2", "--force", "--reason", "why", *where)
    assert made["not_in_registry"] == [model.name for model in open_bundle(kept / "served").manifest.models]
    assert command("rollback", kept, monkeypatch, *where)["version"] == "1"
    (tmp_path / "broken.yaml").write_text("models: {")
    with pytest.raises(RegistryError):
        command("rollback", kept, monkeypatch, "--registry", str(tmp_path / "broken.yaml"))


class Reading(Promoter):
    """Its versions were trained with an encoder."""

    def fetch(self, number, folder):
        bundle = super().fetch(number, folder)
        return replace(bundle, manifest=replace(bundle.manifest, encoder=EncoderNote("sha256:0", 4)))


def test_a_bundle_that_needs_another_encoder_changes_nothing(kept):
    before = open_bundle(kept / "served").version
    promoter = Reading(tracker_of(kept), kept / "served", State(kept / "state"), registry=REGISTRY)
    with pytest.raises(EncoderMismatch, match="the registry names none"):
        promoter.promote(Promotion("2", "1", "forced", "ada", "why", 0.0))
    assert tracker_of(kept).version("champion").number == "1"
    assert open_bundle(kept / "served").version == before
    assert promoter.finish_pending() is None

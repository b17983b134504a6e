"""What experiments show, over spools, sealed days and the command line, against a known truth."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from router_runtime.cli import main
from router_runtime.experiments import assign
from router_runtime.exposure import findings
from router_runtime.records import Attempt, Decision, Feedback, TaskProfile, uuid7
from router_runtime.registry import ArmEntry, ExperimentEntry
from router_runtime.registry_reader import DEFAULT_REGISTRY
from router_runtime.stores.base import to_row
from router_runtime.stores.reading import read_events
from router_runtime.stores.seal import seal
from router_runtime.stores.spool import Spool

TEST = ExperimentEntry("launch", "user", (ArmEntry("router", 0.5), ArmEntry("holdout", 0.5, model="gpt-5.5")))
YAML = """
experiments:
  launch: {unit: user, arms: {router: {share: 0.5}, holdout: {share: 0.5, model: gpt-5.5}}}
  idle: {unit: session, arms: {a: {share: 0.5}, b: {share: 0.5}}}
"""


def decided(number: int, user: str, arm: str | None, when: float = 1e9) -> Decision:
    choice = (f"d{number}", when, "m", 1.0, (), {}, TaskProfile(), "balanced", "1", "b", "p")
    return Decision(*choice, user_hash=user, arm=arm)


def events(users: int = 400) -> list[Decision | Attempt | Feedback]:
    """Three calls of each user: the router costs 0.001 a call and is good in 80 %, the holdout 0.003 and 60 %."""
    rng = random.Random(1)
    made: list[Decision | Attempt | Feedback] = []
    for number in range(users * 3):
        user = f"u{number // 3}"
        arm = assign(TEST, user).name
        better = arm == "router"
        key = f"d{number}"
        made.append(decided(number, user, f"launch/{arm}"))
        made.append(Attempt(key, 0, 1e9, "x", "p", error="Overloaded", cost_usd=0.0, billed=False))
        made.append(Attempt(key, 1, 1e9, "m", "p", cost_usd=0.001 if better else 0.003))
        if number % 2 == 0:
            good = float(rng.random() < (0.8 if better else 0.6))
            made += [Feedback(key, 1e9, "thumbs", good), Feedback(key, 1e9, "other", 0.5)][: 1 + (number % 8 == 0)]
    made += [decided(9_001, "u1", None), decided(9_002, "u1", "launch/gone"), decided(9_003, "u1", "launch2/router")]
    made += [Attempt("d9001", 0, 1e9, "m", "p", cost_usd=5.0), Feedback("unknown", 1e9, "thumbs", 1.0)]
    rng.shuffle(made)  # nothing says that a decision is read before its feedback
    return made


def stored(folder: Path, *, sealed: bool) -> Path:
    rows = [to_row(event, uuid7()) for event in events()]
    spool = Spool(folder)
    spool.append(rows[: len(rows) // 2])
    spool.close()
    if sealed:
        pytest.importorskip("pyarrow", reason="the store extra is not installed")
        assert seal(folder).rows == len(rows) // 2
    rest = Spool(folder)
    rest.append(rows[len(rows) // 2 :])
    rest.close()
    return folder


@pytest.mark.parametrize("sealed", [False, True])
def test_the_arms_show_what_is_true_of_them(tmp_path: Path, sealed: bool) -> None:
    place = stored(tmp_path, sealed=sealed)
    found = findings(TEST, lambda: read_events(place))
    router, holdout = found.arms
    assert found.metric == "thumbs", "most calls have it"
    assert found.ratio.observed == {"router": router.subjects, "holdout": holdout.subjects}
    assert (router.subjects + holdout.subjects, router.calls + holdout.calls) == (400, 1200)
    assert not found.ratio.alarm
    assert router.rated + holdout.rated == 600
    assert router.cost_usd is not None
    assert router.cost_usd.value == pytest.approx(0.001)
    assert holdout.cost_change is not None
    assert holdout.cost_change.value == pytest.approx(0.002)
    assert router.feedback is not None
    assert router.feedback.low < 0.8 < router.feedback.high
    assert holdout.feedback_change is not None
    assert holdout.feedback_change.low < -0.2 < holdout.feedback_change.high < 0
    assert router.feedback_change is None
    other = findings(TEST, lambda: read_events(place), "other")
    assert [arm.feedback.value for arm in other.arms if arm.feedback] == [0.5, 0.5]


def test_who_thinks_better_of_it_counts_once_and_what_nobody_billed_has_no_cost(tmp_path: Path) -> None:
    made: list[Decision | Attempt | Feedback] = [decided(n, f"u{n}", "launch/router") for n in range(4)]
    made += [Feedback("d0", 3e9, "thumbs", 1.0), Feedback("d0", 2e9, "thumbs", 0.0)]
    made += [Feedback("d1", 2e9, "thumbs", 1.0), Feedback("d1", 2e9, "thumbs", 0.0, "judge")]
    made += [Attempt("d0", 0, 1e9, "m", "p", cost_usd=0.002), Attempt("d1", 0, 1e9, "m", "p", cost_usd=None)]
    made += [Attempt("d2", 0, 1e9, "m", "p", error="Overloaded", cost_usd=None, billed=False)]
    spool = Spool(tmp_path)
    spool.append([to_row(event, uuid7()) for event in made])
    spool.close()
    router, _ = findings(TEST, lambda: read_events(tmp_path)).arms
    assert router.feedback is not None
    assert router.feedback.value == pytest.approx((1.0 + 0.5) / 2)
    assert router.cost_usd is not None
    assert (router.cost_usd.value, router.cost_usd.subjects) == (0.002, 1)


@pytest.mark.parametrize("name", ['tone "new"', "a\\b", "größe", "a/b", '"'])
def test_an_experiment_may_be_called_anything(tmp_path: Path, name: str) -> None:
    spool = Spool(tmp_path)
    spool.append([to_row(decided(n, f"u{n}", f"{name}/holdout"), f"k{n}") for n in range(3)])
    spool.close()
    found = findings(replace(TEST, name=name), lambda: read_events(tmp_path))
    assert [arm.calls for arm in found.arms] == [0, 3]


def test_an_experiment_without_events_has_no_figures(tmp_path: Path) -> None:
    found = findings(TEST, lambda: read_events(tmp_path))
    assert found.metric is None
    assert [(arm.calls, arm.feedback, arm.cost_usd) for arm in found.arms] == [(0, None, None)] * 2


def test_a_spool_read_while_it_is_open_and_old_events_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([to_row(decided(n, "u", None, when=float(n)), f"k{n}") for n in range(10)])
    assert [row.decision_id for row in read_events(tmp_path, since=7.0)] == ["d7", "d8", "d9"]
    spool.close()


@pytest.fixture
def registry_file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.yaml"
    path.write_text(DEFAULT_REGISTRY.read_text() + YAML)
    return path


def test_the_command_shows_all_experiments(
    tmp_path: Path, registry_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = stored(tmp_path / "log", sealed=False)
    command = ["experiments", "--log", str(place), "--registry", str(registry_file)]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["experiments"]] == ["launch", "idle"]
    launch = document["experiments"][0]
    assert launch["arms"][1]["cost_change"]["value"] == pytest.approx(0.002)
    assert launch["sample_ratio"]["alarm"] is False
    assert main([*command, "launch"]) == 0
    words = capsys.readouterr().out
    assert "changes are against router" in words
    assert "0.002000 ±0.000000" in words
    assert main([*command, "lanch"]) == 1
    assert "did you mean 'launch'" in capsys.readouterr().err


def test_feedback_and_sealing_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="the store extra is not installed")
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    log = str(tmp_path / "log")
    (tmp_path / "log").mkdir()
    assert main(["feedback", "d7", "--score", "0.25", "--source", "judge", "--log", log, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == 0.25
    (row,) = read_events(log)
    assert json.loads(row.body).items() >= {"decision_id": "d7", "metric": "score", "source": "judge"}.items()
    assert main(["seal", "--log", log]) == 0
    assert "1 events in 1 files; 0 spools are still being written" in capsys.readouterr().out
    assert [row.decision_id for row in read_events(log)] == ["d7"]
    assert main(["seal", "--log", log, "--json"]) == 0
    nothing = {"rows": 0, "open_spools": 0, "failed": {}, "deleted": [], "files": []}
    assert json.loads(capsys.readouterr().out) == nothing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["feedback", "d", "--score", "2", "--log", "x"], "expected a number in 0..1"),
        (["feedback", "d", "--score", "1", "--log", "ftp://x"], "the store's URL starts with ftp"),
        (["seal", "--log", "/no/such/folder"], "is no folder"),
        (["seal", "--log", "postgresql://h/d"], "only a log in a folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1

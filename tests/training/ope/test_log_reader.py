"""From events to arrays to a report: what is joined, what is dropped, and the truth of a simulated log."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.errors import DataError, NotSupported, TooFewRows
from router_runtime.policy import PolicySettings
from tests.training.graph_examples import linear_parts
from tests.training.table_examples import small_table
from training.cli import main
from training.evaluate_log import evaluate_bundle
from training.export import export_graph
from training.labels import FEEDBACK_COLUMNS
from training.ope.log_reader import read_decisions, read_log
from training.ope.replay import predicted_quality, replay
from training.served import served_bundle
from training.simulate import draw
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

TABLE = small_table(300)
SETTINGS = PolicySettings(trade_off=0.9)


def record(identity, chosen="small", shares=(0.75, 0.25), **changes):
    models = ("small", "large")
    candidates = [
        {"model": name, "probability": share, "quality": 0.6, "cost_usd": 1e-4, "score": 0.0}
        for name, share in zip(models, shares, strict=True)
    ]
    base = {
        "id": identity, "time": 5.0, "chosen": chosen, "propensity": dict(zip(models, shares, strict=True))[chosen],
        "candidates": candidates, "task": {"domain": "law"}, "tier": None, "session": None, "prompt": "why?",
        "features": None, "intent": None,
    }  # fmt: skip
    return base | changes


def read(records, attempts=(), feedback=None):
    said = feedback if feedback is not None else [(one["id"], "unit", 1.0, "test", 9.0) for one in records]
    spent = pd.DataFrame(list(attempts), columns=["decision_id", "cost_usd"]).astype({"cost_usd": float})
    return read_decisions(records, spent, pd.DataFrame(said, columns=list(FEEDBACK_COLUMNS)))


def test_decisions_become_arrays():
    found = read([record("a"), record("b", "large"), record("c")], [("a", 1e-5), ("a", 3e-5), ("b", None)])
    log = found.decisions
    assert log.models == ("large", "small")
    assert log.action.tolist() == [1, 0, 1]
    assert log.pscore.tolist() == [0.75, 0.25, 0.75]
    assert log.cost[0] == pytest.approx(4e-5)  # every attempt is paid for
    assert np.isnan(log.cost[1:]).all()
    assert log.quality.tolist() == [1.0, 1.0, 1.0]
    assert len(log.features[0].ids) > 0
    assert log.segments == {}


def test_decisions_without_a_true_propensity_are_dropped_and_counted():
    bad = [
        record("b", candidates=[]),
        record("c", propensity=None),
        record("d", propensity=0.5),
        record("e", shares=(0.5, 0.2)),
        record("f", chosen="small", shares=(0.0, 1.0)),
        {**record("g"), "chosen": "unheard"},
    ]
    found = read([record("a"), *bad])
    assert found.counts == {"decisions_seen": 7, "decisions_used": 1, "decisions_dropped": 6}
    with pytest.raises(NotSupported, match="none of the 6 logged decisions holds"):
        read(bad)


def test_sessions_and_tiers():
    rows = [record("a", session="s", tier="free"), record("b", session="s", tier="pro"), record("c"), record("d")]
    log = read(rows).decisions
    assert log.session[0] == log.session[1]
    assert len(set(log.session)) == 3
    assert log.segments["tier"].tolist() == ["free", "pro", "none", "none"]


def test_logged_features_stand_in_for_the_prompt():
    text = read([record("a")]).decisions.features[0]
    kept = {"ids": text.ids.tolist(), "structural": text.structural.tolist()}
    again = read([record("a", prompt=None, features=kept)]).decisions.features[0]
    assert (again.ids == text.ids).all()
    assert again.structural == pytest.approx(text.structural)
    assert len(read([record("a", prompt=None)]).decisions.features[0].ids) == 0


def test_a_log_without_feedback_is_an_error():
    with pytest.raises(TooFewRows, match="0 decisions have a label, 1 more are needed"):
        read([record("a")], feedback=[])


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory):
    parts = replace(linear_parts(3, 2), models=tuple(TABLE.model_names))
    folder = tmp_path_factory.mktemp("bundle") / "b"
    manifest = {"models": [{"name": name} for name in parts.models], "domains": list(parts.domains)}
    return write_bundle(folder, export_graph(parts), manifest, "# Card\n")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    for name in ("epsilon", "deterministic"):
        simulate(TABLE, folder / name, SimulationSettings(policy=name, epsilon=0.4), 1500, seed=3)
    return folder


def test_a_simulated_log_is_read_as_it_was_drawn(logs):
    drawn = draw(TABLE, SimulationSettings(policy="epsilon", epsilon=0.4), 1500, 3)
    log = read_log(logs / "epsilon")
    order = [log.decisions.models.index(name) for name in drawn.world.table.model_names]
    assert (log.decisions.action == np.array(order)[drawn.action]).all()
    assert log.decisions.pscore == pytest.approx(drawn.pscore, abs=1e-6)
    assert log.decisions.quality == pytest.approx(drawn.reward)
    assert log.counts["decisions_used"] == 1500


def test_the_value_of_a_bundle_covers_its_truth(logs, bundle_path):
    settings = SimulationSettings(policy="epsilon", epsilon=0.4)
    drawn, log, bundle = draw(TABLE, settings, 1500, 3), read_log(logs / "epsilon"), open_bundle(bundle_path)
    policy = replay(log.decisions, predicted_quality(served_bundle(bundle), log.decisions), SETTINGS)
    order = [drawn.world.table.model_names.index(name) for name in log.decisions.models]
    truth = float((policy * drawn.world.quality[drawn.prompt][:, order]).sum(axis=1).mean())
    report = evaluate_bundle(bundle, log, SETTINGS)
    for name in ("snips", "dr", "sndr"):
        found = report["policy_value"][name]
        assert abs(found["value"] - truth) < 3 * found["se"], name
    assert report["counts"]["used"] == 1500
    assert report["trained_on_this_window"] is None


def test_the_command_prints_one_document(logs, bundle_path, capsys):
    arguments = ["evaluate", "--bundle", str(bundle_path), "--log", str(logs / "epsilon"), "--json", "--quiet"]
    assert main([*arguments, "--trade-off", "0.9"]) == 0
    out = capsys.readouterr().out
    report = json.loads(out)
    assert out.count("\n") == 1
    assert report["refused"] is False
    assert {"policy_value", "logging_policy_value", "difference", "ess", "support", "n"} <= set(report)
    assert main([*arguments[:-2], "--quiet"]) == 0
    assert "1,500 decisions, effective sample" in capsys.readouterr().out


def test_the_command_refuses_a_deterministic_log(logs, bundle_path, capsys):
    arguments = ["evaluate", "--bundle", str(bundle_path), "--log", str(logs / "deterministic"), "--quiet"]
    assert main([*arguments, "--json"]) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["refused"] is True
    assert "without chance" in document["reason"]
    assert "ε" in document["reason"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("refused: the log cannot support this evaluation (all decisions)")
    assert printed.err.count("\n") == 1


def test_an_empty_folder_is_no_log(tmp_path, bundle_path, capsys):
    with pytest.raises(DataError, match="holds no event"):
        read_log(tmp_path)
    assert main(["evaluate", "--bundle", str(bundle_path), "--log", str(tmp_path), "--quiet"]) == 1
    assert "holds no event" in capsys.readouterr().err


def test_events_that_stand_twice_count_once(logs, tmp_path):
    folder = tmp_path / "twice"
    shutil.copytree(logs / "epsilon", folder)
    for path in list(folder.glob("day=*/*.parquet")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    assert read_log(folder).counts == read_log(logs / "epsilon").counts

"""From a simulated log, through its files and the command line, to a report that holds the truth."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.policy_settings import PolicySettings
from tests.training.graph_examples import linear_parts
from tests.training.table_examples import small_table
from training.cli import main
from training.evaluate_log import evaluate_bundle
from training.export import export_graph
from training.log_table import load_log
from training.ope.learnt_rewards import learnt_quality
from training.ope.replay import predicted_quality, replay
from training.outcome_models import LearnConfig
from training.quality_head import TreeConfig
from training.served import served_bundle
from training.simulate import draw
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

TABLE = small_table(300)
SETTINGS = PolicySettings(trade_off=0.9)


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
    log = load_log(logs / "epsilon").logged_decisions()
    order = [log.models.index(name) for name in drawn.world.table.model_names]
    assert (log.action == np.array(order)[drawn.action]).all()
    assert log.pscore == pytest.approx(drawn.pscore, abs=1e-6)
    assert log.quality == pytest.approx(drawn.reward)


def test_the_value_of_a_bundle_covers_its_truth(logs, bundle_path):
    settings = SimulationSettings(policy="epsilon", epsilon=0.4)
    drawn, log, bundle = draw(TABLE, settings, 1500, 3), load_log(logs / "epsilon"), open_bundle(bundle_path)
    decisions = log.logged_decisions()
    policy = replay(decisions, predicted_quality(served_bundle(bundle), decisions), SETTINGS)
    order = [drawn.world.table.model_names.index(name) for name in log.models]
    truth = float((policy * drawn.world.quality[drawn.prompt][:, order]).sum(axis=1).mean())
    report = evaluate_bundle(bundle, log, SETTINGS)
    for name in ("snips", "dr", "sndr"):
        found = report["policy_value"][name]
        assert abs(found["value"] - truth) < 3 * found["se"], name
    assert report["counts"]["labels.used"] == 1500
    assert report["trained_on_this_window"] is None


def test_the_command_prints_one_document(logs, bundle_path, capsys):
    arguments = ["evaluate", "--bundle", str(bundle_path), "--store", f"dir://{logs}/epsilon", "--json", "--quiet"]
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


def test_a_log_without_feedback_says_so(tmp_path, bundle_path, capsys):
    simulate(TABLE, tmp_path / "mute", SimulationSettings(policy="epsilon", test_rate=0.0), 200, seed=0)
    assert main(["evaluate", "--bundle", str(bundle_path), "--log", str(tmp_path / "mute"), "--quiet"]) == 1
    assert "nothing can be evaluated" in capsys.readouterr().err


def test_an_empty_folder_is_no_log(tmp_path, bundle_path, capsys):
    assert main(["evaluate", "--bundle", str(bundle_path), "--log", str(tmp_path), "--quiet"]) == 1
    assert "holds no log" in capsys.readouterr().err


def test_the_routers_own_learner_can_be_the_reward_model(logs, bundle_path):
    log, bundle = load_log(logs / "epsilon"), open_bundle(bundle_path)
    config = LearnConfig(trees=TreeConfig(rounds=20, threads=1), rank=8)
    found = evaluate_bundle(bundle, log, SETTINGS, quality_model=lambda fold: learnt_quality(log, fold, config))
    plain = evaluate_bundle(bundle, log, SETTINGS)
    assert found["policy_value"]["dm"]["value"] != plain["policy_value"]["dm"]["value"]
    assert found["policy_value"]["ips"] == plain["policy_value"]["ips"]
    assert found["policy_value"]["dr"]["se"] < 1.05 * plain["policy_value"]["dr"]["se"]
    assert found["cost"] == plain["cost"]

"""The command line: exit codes, one-line errors, one JSON document, and the real learner end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.training.table_examples import small_table
from training.cli import COMMANDS, load_command, main


def save(table, folder):
    folder.mkdir()
    for name in ("prompts", "outcomes", "models"):
        getattr(table, name).to_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A trained bundle and a held-out table."""
    folder = tmp_path_factory.mktemp("cli")
    table, held = save(small_table(300), folder / "seen"), save(small_table(100, seed=9), folder / "held")
    arguments = ["train", "--table", str(table), "--out", str(folder / "bundle"), "--no-mlflow", "--quiet"]
    assert main([*arguments, "--baselines", "none"]) == 0
    return folder, table, held


def document(capsys):
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_train_then_evaluate_on_held_out_prompts(world, capsys):
    folder, table, held = world
    capsys.readouterr()
    arguments = ["--bundle", str(folder / "bundle"), "--json", "--quiet", "--replicates", "50"]
    assert main(["evaluate", *arguments, "--table", str(held)]) == 0
    report = document(capsys)
    for name in ("aiq", "perf_gain", "gap_oracle", "cost_at_quality", "calibration", "baselines"):
        assert name in report
    assert "cost_save" in report
    assert report["aiq"] > report["baselines"]["zero"]["aiq"]
    assert not report["trained_on_this_table"]
    assert main(["evaluate", *arguments, "--table", str(table)]) == 0
    assert document(capsys)["trained_on_this_table"]


def test_evaluate_with_fitted_baselines(world, capsys):
    folder, table, held = world
    capsys.readouterr()
    arguments = ["--bundle", str(folder / "bundle"), "--table", str(held), "--train-table", str(table)]
    assert main(["evaluate", *arguments, "--replicates", "20", "--quiet"]) == 0
    text = capsys.readouterr().out
    for name in ("ours", "zero", "knn", "kmeans", "tfidf_logistic", "task_table", "oracle"):
        assert f"\n{name} " in text


def test_models_that_the_bundle_does_not_know_are_named(world, capsys, tmp_path):
    folder, _, _ = world
    capsys.readouterr()
    other = small_table(60, seed=3)
    other.models["model"] = other.models["model"].replace("middle", "newcomer")
    other.outcomes["model"] = other.outcomes["model"].replace("middle", "newcomer")
    held = save(other, tmp_path / "other")
    arguments = ["--bundle", str(folder / "bundle"), "--table", str(held), "--json", "--quiet", "--replicates", "20"]
    assert main(["evaluate", *arguments]) == 0
    assert document(capsys)["unknown_models"] == ["newcomer"]
    bundle = str(folder / "bundle")
    arguments = ["compare", bundle, bundle, "--table", str(held), "--no-log", "--quiet", "--replicates", "20"]
    assert main(arguments) == 0
    assert f"note: {bundle} does not know newcomer: it goes by priors there" in capsys.readouterr().out


def test_compare_folders(world, capsys):
    folder, _, held = world
    capsys.readouterr()
    bundle = str(folder / "bundle")
    arguments = ["compare", bundle, bundle, "--table", str(held), "--no-log", "--quiet", "--replicates", "20"]
    assert main([*arguments, "--json"]) == 0
    report = document(capsys)
    assert report["difference"]["aiq"] == 0
    assert main(arguments) == 0
    assert "AIQ" in capsys.readouterr().out


def test_compare_with_what_is_neither_folder_nor_version_is_refused_in_a_line(world, tmp_path, capsys, monkeypatch):
    folder, _, held = world
    capsys.readouterr()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert main(["compare", str(folder / "bundle"), str(tmp_path / "mine"), "--table", str(held), "--quiet"]) == 1
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert "is no folder, and no version is registered" in found


def test_errors_are_one_line_and_exit_codes_tell_usage_from_failure(tmp_path, capsys):
    assert main(["evaluate", "--bundle", str(tmp_path), "--table", str(tmp_path), "--quiet"]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert main(["nonsense"]) == 2
    assert "unknown command" in capsys.readouterr().err
    assert main(["train"]) == 2
    assert main([]) == 2
    for wrong in (["--folds", "1"], ["--seed", "-1"], ["--seed", "x"]):
        capsys.readouterr()
        assert main(["train", "--table", str(tmp_path), *wrong]) == 2
        assert f"argument {wrong[0]}: " in capsys.readouterr().err


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(_name):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.cli.load_command", interrupted)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == "interrupted; run the same command again\n"


@pytest.mark.parametrize("left_out", ["an outcome", "a model"])
def test_training_figures_are_told_from_held_out_ones_on_any_table(tmp_path, capsys, left_out):
    table = small_table(120)
    if left_out == "an outcome":
        table = replace(table, outcomes=table.outcomes.iloc[1:])
    else:
        table.models["core_pool"] = table.models["model"] != "middle"
    seen, bundle = save(table, tmp_path / "seen"), str(tmp_path / "bundle")
    arguments = ["--table", str(seen), "--quiet"]
    assert main(["train", *arguments, "--out", bundle, "--no-mlflow", "--baselines", "none"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--bundle", bundle, *arguments, "--json", "--replicates", "5"]) == 0
    assert document(capsys)["trained_on_this_table"]
    assert main(["compare", bundle, bundle, *arguments, "--json", "--replicates", "5", "--no-log"]) == 0
    assert document(capsys)["a"]["trained_on_this_table"]


def test_baselines_of_a_table_that_lacks_a_model_are_refused_by_its_name(world, tmp_path, capsys):
    folder, _, held = world
    table = small_table(100)
    lacking = replace(
        table,
        models=table.models[table.models["model"] != "dear"],
        outcomes=table.outcomes[table.outcomes["model"] != "dear"],
    )
    arguments = ["--table", str(held), "--train-table", str(save(lacking, tmp_path / "lacking")), "--quiet"]
    assert main(["evaluate", "--bundle", str(folder / "bundle"), *arguments]) == 1
    assert "has no complete outcomes of dear" in capsys.readouterr().err


def test_help_of_every_command_shows_examples(capsys):
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"python -m training {name}" in load_command(name).EXAMPLES
    assert main(["--help"]) == 0
    assert all(name in capsys.readouterr().out for name in ["train"])


def test_the_list_of_commands_loads_nothing_heavy():
    code = "import sys; from training.cli import main; main(['--help']);print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split("'"))
    assert not loaded & {"sklearn", "mlflow", "pandas", "lightgbm"}


def test_default_bundle_learns_from_tables_together_and_keeps_its_size(tmp_path, capsys):
    for seed, name in enumerate(("one", "two")):
        save(small_table(150, seed=seed), tmp_path / name)
    arguments = ["default-bundle", "--data", str(tmp_path), "--tables", "one", "two"]
    assert main([*arguments, "--out", str(tmp_path / "default"), "--json", "--quiet"]) == 0
    made = document(capsys)
    assert made["bytes"] <= 2_000_000
    assert made["counts"]["rows_used"] == 900
    card = (tmp_path / "default" / "MODEL_CARD.md").read_text()
    assert "one + two: 300 prompts × 3 models" in card
    assert "public benchmark answers" in card


def test_simulate_writes_a_log_and_its_truth(tmp_path, capsys):
    table = save(small_table(60), tmp_path / "table")
    arguments = ["simulate", "--table", str(table), "--n", "200", "--policy", "uniform", "--out", str(tmp_path / "log")]
    assert main([*arguments, "--json", "--quiet"]) == 0
    truth = document(capsys)
    assert truth["decisions"] == 200
    assert truth["policy_value"] == truth["uniform"]
    assert list((tmp_path / "log").rglob("*.parquet"))
    assert main([*arguments, "--quiet"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--seed", "1", "--quiet"]) == 2
    assert "holds another log already" in capsys.readouterr().err
    elsewhere = [*arguments[:-1], str(tmp_path / "elsewhere")]
    assert main([*elsewhere, "--epsilon", "2", "--quiet"]) == 2
    assert "epsilon is 2.0" in capsys.readouterr().err

"""From a log or another system's file to a bundle, and the demo that shows the whole loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from training.cli import main
from training.commands.demo import PAGE
from training.tracking import Tracker

SAMPLE = ROOT / "data" / "sample"


def document(capsys):
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def spend_log(path: Path, rows: int, broken: int = 0) -> Path:
    """LiteLLM spend logs; every fifth quality is lower."""
    lines = [
        json.dumps(
            {
                "request_id": f"r{i}",
                "call_type": "acompletion",
                "spend": 0.001 * (1 + i % 3),
                "prompt_tokens": 100,
                "completion_tokens": 20 + i % 7,
                "startTime": "2026-05-01T10:00:00Z",
                "endTime": "2026-05-01T10:00:02Z",
                "model": "gpt-5.5" if i % 2 else "claude-opus-4.7",
                "messages": [{"role": "user", "content": f"please sort list number {i * 7} and explain step {i}"}],
                "metadata": {"score": (i % 5) / 4},
            }
        )
        for i in range(rows)
    ]
    path.write_text("\n".join([*lines, *(['{"broken":'] * broken)]) + "\n")
    return path


def test_trains_on_a_simulated_log_and_says_what_the_log_supports(tmp_path, capsys):
    log, bundle = str(tmp_path / "log"), str(tmp_path / "bundle")
    assert main(["simulate", "--table", str(SAMPLE), "--policy", "uniform", "--n", "1500", "--out", log]) == 0
    capsys.readouterr()
    arguments = ["--out", bundle, "--no-mlflow", "--baselines", "none", "--quiet", "--json"]
    assert main(["train", "--log", log, *arguments]) == 0
    trained = document(capsys)
    assert trained["counts"]["events.decision"] == 1500
    assert 0 < trained["counts"]["rows_used"] <= 1500
    assert main(["evaluate", "--bundle", bundle, "--log", log, "--json", "--quiet"]) == 0
    value = document(capsys)["policy_value"]["dr"]
    assert value["ci_low"] < value["value"] < value["ci_high"]


def test_a_deterministic_log_is_refused_with_what_is_missing(tmp_path, bundle_folder, capsys):
    log = str(tmp_path / "log")
    arguments = ["simulate", "--table", str(SAMPLE), "--policy", "deterministic", "--n", "600", "--out", log]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(["evaluate", "--bundle", str(bundle_folder), "--log", log, "--json", "--quiet"]) == 1
    found = capsys.readouterr()
    assert json.loads(found.out)["refused"] is True
    assert found.err.startswith("refused: ")


def test_imports_a_spend_log_and_names_the_broken_row(tmp_path, capsys):
    spend = spend_log(tmp_path / "spend.jsonl", 60, broken=1)
    assert main(["import", "litellm", str(spend), "--out", str(tmp_path / "table"), "--json"]) == 0
    found = document(capsys)
    assert found["prompts"] == 60
    assert "spend.jsonl, row 61" in found["rejected"][0]
    assert sorted(p.name for p in (tmp_path / "table").iterdir()) == [
        "models.parquet",
        "outcomes.parquet",
        "prompts.parquet",
    ]


def test_too_many_broken_rows_stop_the_import(tmp_path, capsys):
    spend = spend_log(tmp_path / "spend.jsonl", 20, broken=10)
    assert main(["import", "litellm", str(spend), "--out", str(tmp_path / "table")]) == 1
    assert "spend.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()


def test_a_mapping_without_an_import_is_wrong_usage(tmp_path, capsys):
    assert main(["train", "--table", str(SAMPLE), "--mapping", "columns.yaml", "--quiet"]) == 2
    assert "--import" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_trains_registers_and_saves(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert main(["demo", "--sample", str(SAMPLE), "--out", str(tmp_path / "demo"), "--json", "--quiet"]) == 0
    shown = document(capsys)
    assert len(shown["choices"]) == len(PAGE)
    spent = sum(one["cost_usd"] for one in shown["choices"])
    assert spent < sum(one["strongest_cost_usd"] for one in shown["choices"])
    assert len({one["chosen"] for one in shown["choices"]}) > 1
    assert (Tracker().bundle("champion", tmp_path / "copy") / "router.onnx").is_file()

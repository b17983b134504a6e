"""Versions in a real embedded MLflow (SQLite in a temporary folder)."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from router_runtime.errors import StoreError, UnknownVersion
from tests.training.graph_examples import linear_parts
from training.export import export_graph
from training.run_record import MODEL, RunRecord
from training.tracking import BUNDLE_FOLDER, Tracker


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "router"
    folder.mkdir()
    (folder / "router.onnx").write_bytes(export_graph(linear_parts()))
    (folder / "manifest.json").write_text('{"format_version": 1}')
    return folder


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """MLflow takes seconds to make its tables, so they are made once."""
    folder = tmp_path_factory.mktemp("mlflow")
    Tracker(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def uri(tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


RECORD = RunRecord(
    params={"seed": "0"},
    metrics={f"metric.{i}": i / 10 for i in range(30)},
    tags={"data_sha256": "abc"},
    figures={"frontier.png": b"\x89PNG"},
    documents={"report.json": "{}"},
)


def test_first_version_is_champion_and_the_next_one_challenger(bundle, uri):
    tracker = Tracker(uri)
    first = tracker.register("one", RECORD, bundle, "f" * 64)
    second = Tracker(uri).register("two", RECORD, bundle, "e" * 64)
    assert (first.version, first.alias) == ("1", "champion")
    assert (second.version, second.alias) == ("2", "challenger")
    client = tracker._client
    assert client.get_model_version(MODEL, "1").tags["bundle_sha256"] == "f" * 64
    run = client.get_run(first.run_id)
    assert run.data.metrics["metric.7"] == pytest.approx(0.7)
    assert run.data.params == {"seed": "0"}
    assert {a.path for a in client.list_artifacts(first.run_id)} >= {"figures", "report.json"}


def test_a_version_gives_its_bundle_back_byte_for_byte(bundle, uri, tmp_path):
    tracker = Tracker(uri)
    tracker.register("one", RECORD, bundle, "f" * 64)
    for reference in ("1", "champion"):
        fetched = tracker.bundle(reference, tmp_path / f"fetched-{reference}")
        assert fetched.name == BUNDLE_FOLDER
        for file in bundle.iterdir():
            assert (fetched / file.name).read_bytes() == file.read_bytes()


def test_unknown_version_is_named(uri, tmp_path):
    with pytest.raises(UnknownVersion, match=r"no version is registered in .*; train or retrain registers one"):
        Tracker(uri).bundle("nope", tmp_path)


def test_nothing_is_registered_when_logging_fails(bundle, uri):
    (bundle / "router.onnx").unlink()
    tracker = Tracker(uri)
    with pytest.raises(FileNotFoundError):
        tracker.register("one", RECORD, bundle, "f" * 64)
    assert tracker._client.search_registered_models() == []


def test_counts_are_kept_whatever_the_reason_holds(uri):
    reasons = (
        "cost_usd from tokens × price",
        "line: is not JSON (','",
        "source: is not user, judge",
        "a/../b",
        "x" * 400,
    )
    twins = {"quality: is in 'a'": 1.0, 'quality: is in "a"': 2.0}
    metrics = {f"rows.rejected.{reason}": 3.0 for reason in reasons} | twins
    tracker = Tracker(uri)
    kept = tracker._client.get_run(tracker.log("odd", RunRecord(metrics=metrics))).data.metrics
    assert sorted(kept.values()) == [1.0, 2.0] + [3.0] * len(reasons)
    assert kept["rows.rejected.cost_usd from tokens _ price"] == 3.0


@pytest.mark.parametrize(
    "uri", ["foo://me:secret@bar", "file:///nowhere", "http://me:secret@127.0.0.1:9"], ids=["kind", "files", "away"]
)
def test_an_mlflow_that_cannot_be_used_is_one_line_without_its_password(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StoreError, match="MLFLOW_TRACKING_URI names another") as refused:
        Tracker(uri)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(StoreError, match=r"mlflow\.db: .*not a database"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db")


def test_two_processes_at_once_make_one_database_and_one_champion(bundle, tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    code = (
        "import sys; from pathlib import Path; from training.run_record import RunRecord;"
        "from training.tracking import Tracker;"
        "print(Tracker(sys.argv[1]).register('r', RunRecord(), Path(sys.argv[2]), 'f').alias)"
    )
    command = [sys.executable, "-c", code, uri, str(bundle)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(out.split()[-1] for out, _ in outputs) == ["challenger", "champion"]

"""An encoder in training: what words alone cannot say is learnt, served and judged, and its absence is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router_runtime.bundle import open_bundle
from router_runtime.encoder import TextEncoder
from router_runtime.errors import NotSupported
from router_runtime.opening import open_for, text_encoder
from router_runtime.registry_reader import load_registry
from tests.conftest import registry_text
from tests.local_encoder import write_encoder
from tests.training.retrain.weeks import job_of
from tests.training.table_examples import SKILL, small_table
from tests.training.test_cli import save
from tests.training.test_log_features import logged, requests
from training.cli import main
from training.feature_matrix import featurise
from training.log_features import read_features
from training.log_table import load_log
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

N = 400
WORDS = [f"{a}{b}{c}" for a in "bdfglmnp" for b in "aeiou" for c in "krstvwxz"]  # each names a thing
EASY = np.random.default_rng(5).random(len(WORDS)) < 0.5
NAMED = "encoder: {onnx: model.onnx, tokenizer: tokenizer.json}\n"


def meanings(seed: int):
    """Questions after one thing each; which are easy only the encoder knows. Even and odd seeds share no word."""
    table, rng = small_table(N, seed=seed), np.random.default_rng(seed)
    things = rng.choice(np.arange(seed % 2, len(WORDS), 2), N)
    names = [WORDS[thing] for thing in things]
    table.prompts["text"] = [f"What is a {name}?" for name in names]
    table.prompts["task"], table.prompts["group"] = "things", names
    skill = np.array([[SKILL[model][int(easy)] for model in table.model_names] for easy in EASY[things]])
    assert table.outcomes["model"].tolist() == table.model_names * N
    table.outcomes["quality"] = (rng.random(skill.shape) < skill).astype(float).ravel()
    return table


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """Registries with and without an encoder that knows what is easy, a table to learn from, one to judge on."""
    folder = tmp_path_factory.mktemp("encoder")
    known = np.column_stack((np.where(EASY, 1.0, -1.0), np.random.default_rng(1).normal(0, 0.3, (len(WORDS), 3))))
    table = np.vstack((np.full((1, 4), 9), np.zeros((1, 4)), known)).astype(np.float32)
    write_encoder(folder, table, ["[PAD]", "[UNK]", *WORDS])
    (folder / "reading.yaml").write_text(registry_text(3) + NAMED)
    (folder / "words.yaml").write_text(registry_text(3))
    save(meanings(0), folder / "seen")
    save(meanings(1), folder / "unseen")
    assert main([*training(folder, "reading.yaml", "reads"), "--quiet"]) == 0
    return folder


def training(house: Path, registry: str, bundle: str) -> list[str]:
    table, named, out = (str(house / name) for name in ("seen", registry, bundle))
    return ["train", "--table", table, "--registry", named, "--out", out, "--no-mlflow", "--baselines", "none"]


def run(capsys, *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([*map(str, arguments), "--quiet"])
    found = capsys.readouterr()
    return code, found.out, found.err


def judge(house: Path, capsys, registry: str, bundle: Path) -> dict:
    command = ("evaluate", "--bundle", bundle, "--table", house / "unseen", "--registry", house / registry)
    code, out, err = run(capsys, *command, "--json", "--replicates", "20")
    assert code == 0, err
    return json.loads(out)


def test_meaning_is_learnt_exported_and_judged(house, capsys):
    assert run(capsys, *training(house, "words.yaml", "words"))[0] == 0
    notes = [open_bundle(house / name).manifest.encoder for name in ("reads", "words")]
    assert [note and note.dims for note in notes] == [4, None]
    by_meaning, by_words = (judge(house, capsys, "reading.yaml", house / name) for name in ("reads", "words"))
    assert by_meaning["aiq"] > by_meaning["baselines"]["zero"]["aiq"] + 0.02
    assert by_meaning["aiq"] > by_words["aiq"] + 0.02, "the words of the two tables differ"


def test_training_and_serving_read_the_same_numbers(house):
    registry = load_registry(house / "reading.yaml")
    encoder, opened = text_encoder(registry), open_for(registry, house / "reads")
    texts = ["", "What is a bak?", "日本語の質問", "مرحبا", "\ud800", "bak " * 5000, "so " * 9000 + "what is a bak?"]
    assert np.abs(encoder.vector(texts[-1])).max() > 0.5, "the end of a long text is read"
    matrix = featurise(texts, encoder=encoder)
    descriptor = np.zeros((3, 1 + len(opened.scorer.domains)), np.float32)
    for row, text in enumerate(texts):
        request = opened.encoded(matrix[row]._replace(embedding=None), text)
        ours, theirs = (opened.scorer.predict(one, np.arange(3), descriptor) for one in (matrix[row], request))
        assert np.array_equal(ours.quality, theirs.quality)


def test_a_bundle_beside_a_registry_without_its_encoder_is_refused_in_one_line(house, capsys):
    command = ("evaluate", "--bundle", house / "reads", "--table", house / "unseen", "--registry", house / "words.yaml")
    code, out, err = run(capsys, *command)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "the registry names none: add encoder" in err


def test_logs_that_keep_text_are_read_and_those_that_do_not_are_refused(house, tmp_path):
    encoder = text_encoder(load_registry(house / "reading.yaml"))
    for mode in ("full", "redacted", "features"):
        simulate(meanings(0), tmp_path / mode, SimulationSettings(policy="uniform", log_prompts=mode), 100, seed=1)
    for mode in ("full", "redacted"):
        log = load_log(tmp_path / mode, encoder=encoder)
        assert log.features.distinct.embedding.shape == (len(log.features.distinct), 4)
        assert np.abs(log.features.distinct.embedding).max() > 0.5
    with pytest.raises(
        NotSupported, match="no text of its 100 requests, which the encoder reads: log with log_prompts"
    ):
        load_log(tmp_path / "features", encoder=encoder)


def test_each_of_equal_requests_has_the_vector_of_its_text(house):
    encoder = text_encoder(load_registry(house / "reading.yaml"))
    assert isinstance(encoder, TextEncoder)
    texts = ["a bak", "a bek", "a bak"]
    found = read_features(requests(texts, [None, logged("a bek"), None]), encoder)
    assert len(found.distinct) == 2
    for row, text in enumerate(texts):
        assert np.array_equal(found[row].embedding, encoder.vector(text))


def test_another_encoder_makes_another_week(house, tmp_path):
    encoder = text_encoder(load_registry(house / "reading.yaml"))
    job = job_of(tmp_path, tmp_path)
    table = small_table(30)
    assert job.config.fingerprint(table) == job.config.fingerprint(table, None)
    assert job.config.fingerprint(table) != job.config.fingerprint(table, encoder)

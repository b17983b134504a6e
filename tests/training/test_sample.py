"""The shipped sample is what its generator makes, fits its registry, and can be learnt from."""

import json

import numpy as np
import pandas as pd
import pytest

from router_runtime.pricing import price_at
from tests.conftest import ROOT
from training.dataset import load_table
from training.sample import MODELS, PRICES_OF, SAMPLE_FOLDER, make_sample
from training.sample_prompts import read_kinds
from training.schema import SCHEMA_FOLDER, encoded, schemas


@pytest.fixture(scope="module")
def shipped():
    return load_table(SAMPLE_FOLDER)


def test_the_sample_is_what_the_recorded_command_makes(shipped):
    made = make_sample()
    pd.testing.assert_frame_equal(made.prompts, shipped.prompts, check_dtype=False)
    pd.testing.assert_frame_equal(made.outcomes, shipped.outcomes, check_dtype=False)
    pd.testing.assert_frame_equal(made.models, shipped.models, check_dtype=False)


def test_another_seed_makes_another_sample():
    assert make_sample(60, 1).prompts["text"].tolist() != make_sample(60, 2).prompts["text"].tolist()


def test_the_sample_is_small_clean_and_various(shipped):
    assert sum(path.stat().st_size for path in SAMPLE_FOLDER.iterdir()) < 300_000
    assert shipped.report.counts() == {"rows_seen": 9000, "rows_used": 9000}
    assert shipped.prompts["text"].is_unique
    assert shipped.prompts["task"].nunique() == len(read_kinds()[0]) == 14
    assert shipped.prompts["task"].value_counts().min() >= 50
    assert shipped.prompts["group"].nunique() > 800
    unfilled = shipped.prompts["text"].str.contains(r"\{(?!name\})[a-z]+\d?\}")  # {name} is what a translator must keep
    assert not unfilled.any()


def test_prices_are_those_of_the_registry(shipped, registry):
    assert shipped.model_names == list(MODELS)
    for row in shipped.models.itertuples():
        price = price_at(registry.models[row.model], PRICES_OF)
        assert (row.price_in_per_m, row.price_out_per_m) == (price.input, price.output)


def test_strong_models_are_better_and_dearer_and_harder_tasks_divide_them(shipped):
    quality = pd.DataFrame(shipped.matrix("quality"), columns=shipped.model_names)
    by_task = quality.groupby(shipped.prompts["task"]).mean()
    gap = by_task["claude-opus-4.7"] - by_task["llama-4-scout"]
    assert gap["chat"] < 0.05 < 0.2 < gap["code"] or gap["agents"] > 0.2 > 0.05 > gap["chat"]
    assert quality.max(axis=1).mean() > quality.mean().max() + 0.05
    assert np.corrcoef(quality.mean(), quality.columns.map({m: -i for i, m in enumerate(MODELS)}))[0, 1] > 0.8


def test_the_card_says_that_it_is_simulated_and_how_it_is_made():
    card = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert "simulated" in card
    assert "python -m training.sample" in card


def test_schemas_are_those_of_the_types():
    stored = {path.name: path.read_text(encoding="utf-8") for path in SCHEMA_FOLDER.glob("*.json")}
    assert stored == {name: encoded(schema) for name, schema in schemas().items()}
    assert json.loads(stored["decision.json"])["properties"]["propensity"] == {"type": "number"}

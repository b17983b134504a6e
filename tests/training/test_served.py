"""A bundle on a table: the runtime's own path, with models that the bundle does not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.filters import estimate_tokens
from router_runtime.messages import Request
from tests.training.graph_examples import linear_parts
from tests.training.table_examples import PRICES, small_table
from training.export import export_graph
from training.feature_matrix import featurise
from training.served import (
    declared_priors,
    predict_table,
    predicted_cost,
    served_bundle,
    served_parts,
)


def predictions(served, table, **options):
    return predict_table(served, table, featurise(list(table.prompts["text"])), **options)


def bundle_predictions(bundle, table, **options):
    return predictions(served_bundle(bundle), table, **options)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    parts = linear_parts(2, 2)
    manifest = {"models": [{"name": "cheap"}, {"name": "dear"}], "domains": list(parts.domains)}
    folder = write_bundle(tmp_path_factory.mktemp("bundles") / "one", export_graph(parts), manifest, "# Card\n")
    return open_bundle(folder)


def test_known_models_are_predicted_by_name_and_unknown_ones_by_prior(bundle):
    table = small_table(30)
    low = bundle_predictions(bundle, table, priors={"middle": 0.1})
    high = bundle_predictions(bundle, table, priors={"middle": 0.9})
    assert low.quality.shape == (30, 3)
    assert np.array_equal(low.quality[:, [0, 2]], high.quality[:, [0, 2]])
    assert (low.quality[:, 1] < high.quality[:, 1]).all()


def test_order_of_the_table_does_not_matter(bundle):
    table = small_table(30)
    flipped = type(table)(table.prompts, table.outcomes, table.models.iloc[::-1].reset_index(drop=True), table.name)
    ours, theirs = bundle_predictions(bundle, table), bundle_predictions(bundle, flipped)
    assert np.array_equal(ours.quality, theirs.quality[:, ::-1])
    assert ours.cost == pytest.approx(theirs.cost[:, ::-1])


def test_parts_serve_as_the_bundle_that_they_become(bundle):
    table = small_table(30)
    parts = replace(linear_parts(2, 2), models=("cheap", "dear"))
    assert np.array_equal(bundle_predictions(bundle, table).quality, predictions(served_parts(parts), table).quality)


def test_cost_is_tokens_at_the_tables_prices():
    table = small_table(12)
    tokens, scale = np.full((12, 3), 100.0), np.array([1.0, 1.0, 1.5])
    cost = predicted_cost(table, tokens, scale)
    estimated = np.array([estimate_tokens(Request(text)) for text in table.prompts["text"]])
    assert cost[:, 2] == pytest.approx((1.5 * estimated * PRICES["dear"] + 100 * 2 * PRICES["dear"]) / 1e6)
    table.models["price_in_per_m"] = [np.nan, 1.0, 10.0]
    assert predicted_cost(table, tokens, scale)[:, 0] == pytest.approx(table.matrix("cost_usd")[:, 0].mean())


def test_priors_of_the_table_are_overridden_by_those_given():
    table = small_table(12)
    table.models["quality_prior"] = [0.2, np.nan, 0.9]
    assert declared_priors(table, {"dear": 0.7}) == {"cheap": 0.2, "dear": 0.7}


def test_a_bundle_keeps_how_its_providers_count(tmp_path):
    parts = replace(linear_parts(2, 2), models=("cheap", "dear"), input_scale=np.array([0.5, 2.0]))
    models = [{"name": "cheap", "input_scale": 0.5}, {"name": "dear", "input_scale": 2.0}]
    folder = write_bundle(
        tmp_path / "b", export_graph(parts), {"models": models, "domains": list(parts.domains)}, "#\n"
    )
    served = served_bundle(open_bundle(folder))
    assert served.input_scale.tolist() == served_parts(parts).input_scale.tolist() == [0.5, 2.0, 1.0]

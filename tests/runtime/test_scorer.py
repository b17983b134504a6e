from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from router_runtime.errors import BundleFormatError
from router_runtime.features import extract
from router_runtime.messages import Request
from router_runtime.scorer import Scorer
from tests.training.graph_examples import fitted_parts, linear_parts, prompts
from training.export import export_graph
from training.parity import reference_predictions


@dataclass(frozen=True)
class Manifest:
    models: tuple[str, ...]
    domains: tuple[str, ...]


@pytest.fixture(scope="module")
def features():
    return prompts(200)


@pytest.fixture(scope="module")
def parts(features):
    return fitted_parts(features)


@pytest.fixture(scope="module")
def scorer(parts):
    return Scorer(export_graph(parts), Manifest(parts.models, parts.domains))


MODELS = np.array([1, 3, 0, 2, 3])
DESCRIPTOR = np.array([[0, 0, 0], [0.9, 0, 0.2], [0, 0, 0], [0, 0, 0], [0.2, 0, 0]], dtype=np.float32)


def test_predictions_are_those_of_training(scorer, parts, features):
    quality, tokens = reference_predictions(parts, features, MODELS, DESCRIPTOR)
    for index, prompt in enumerate(features):
        got = scorer.predict(prompt, MODELS, DESCRIPTOR)
        np.testing.assert_allclose(got.quality, quality[index], atol=1e-5)
        np.testing.assert_allclose(got.output_tokens, tokens[index], rtol=1e-4)
        assert got.quality.dtype == got.output_tokens.dtype == got.domain.dtype == np.float32
        assert got.latency_ms is not None
        assert got.domain.sum() == pytest.approx(1, abs=1e-5)


def test_a_candidate_does_not_depend_on_the_others(scorer, features):
    whole = scorer.predict(features[20], MODELS, DESCRIPTOR)
    for index in range(len(MODELS)):
        alone = scorer.predict(features[20], MODELS[[index]], DESCRIPTOR[[index]])
        np.testing.assert_allclose(alone.quality, whole.quality[[index]], atol=1e-6)


def test_the_descriptor_counts_for_unknown_models_only(scorer, features):
    declared = np.full((5, 3), 0.7, dtype=np.float32)
    base, other = scorer.predict(features[30], MODELS, DESCRIPTOR), scorer.predict(features[30], MODELS, declared)
    known = scorer.unknown != MODELS
    np.testing.assert_array_equal(base.quality[known], other.quality[known])
    assert (base.quality[~known] != other.quality[~known]).any()


def test_a_better_prior_helps_an_unknown_model():
    parts = linear_parts()
    scorer = Scorer(export_graph(parts), Manifest(parts.models, parts.domains))
    priors = np.linspace(0.1, 0.9, 9, dtype=np.float32)
    descriptor = np.hstack((priors[:, None], np.zeros((9, 2), dtype=np.float32)))
    quality = scorer.predict(extract(Request("any prompt")), np.full(9, 3), descriptor).quality
    assert (np.diff(quality) > 0).all()


def test_without_a_latency_head_there_is_none():
    parts = linear_parts(latency=False)
    scorer = Scorer(export_graph(parts), Manifest(parts.models, parts.domains))
    assert scorer.predict(extract(Request("x")), MODELS, DESCRIPTOR).latency_ms is None


def test_threads_share_a_scorer(scorer, features):
    expected = [scorer.predict(prompt, MODELS, DESCRIPTOR).quality for prompt in features]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda prompt: scorer.predict(prompt, MODELS, DESCRIPTOR).quality, features * 5))
    for index, quality in enumerate(got):
        np.testing.assert_array_equal(quality, expected[index % len(features)])


def test_no_candidates_give_no_predictions(scorer):
    got = scorer.predict(extract(Request("x")), np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.float32))
    assert got.quality.shape == (0,)


def test_bytes_that_are_no_graph_are_refused(parts):
    manifest = Manifest(parts.models, parts.domains)
    for junk in (b"junk", b"", export_graph(linear_parts())[:5000]):
        with pytest.raises(BundleFormatError, match=r"router\.onnx is not a graph"):
            Scorer(junk, manifest)


def test_a_graph_that_does_not_fit_its_manifest_is_refused(parts):
    with pytest.raises(BundleFormatError, match="domains"):
        Scorer(export_graph(parts), Manifest(parts.models, ("one",)))

"""Inner products of prompts: rare and common ids together, in blocks."""

import numpy as np
import pytest

from tests.training.table_examples import small_table
from training import kernel_ridge
from training.feature_matrix import featurise
from training.kernel_ridge import Gram


@pytest.mark.parametrize("share", [0.0, 1 / 16, 2.0], ids=["all common", "some", "none"])
def test_products_are_those_of_the_rows(monkeypatch, share):
    monkeypatch.setattr(kernel_ridge, "COMMON_SHARE", share)
    monkeypatch.setattr(kernel_ridge, "_BLOCK", 7)
    gram = Gram.of(featurise([str(text) for text in small_table().prompts["text"]]))
    expected = (gram.bag @ gram.bag.T).toarray() + gram.dense @ gram.dense.T
    np.testing.assert_allclose(gram.products, expected, atol=2e-6)
    np.testing.assert_array_equal(gram.products, gram.products.T)


def test_coefficients_solve_the_system():
    gram = Gram.of(featurise([str(text) for text in small_table().prompts["text"]]))
    rows = np.arange(0, len(gram.products), 2)
    rng = np.random.default_rng(0)
    targets, weight = rng.normal(size=(len(rows), 2)).astype(np.float32), rng.uniform(0.2, 1, len(rows))
    found = gram.coefficients(rows, targets, 3.0, weight.astype(np.float32))
    system = gram.products[np.ix_(rows, rows)] + np.diag(3.0 / weight)
    np.testing.assert_allclose(system @ found, targets, atol=1e-4)

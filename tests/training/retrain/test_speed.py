"""The speed of a decision: all that a call waits for, the encoder too."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router_runtime.bundle import open_bundle
from router_runtime.encoder import TextEncoder
from tests.training.retrain.weeks import REGISTRY
from training.log_table import load_log
from training.retrain.speed import p99_ratio, some_prompts

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "default"


class Slow:
    """Takes three milliseconds for each text."""

    fingerprint, dims = "slow", 4

    def encode(self, texts):
        time.sleep(0.003 * len(texts))
        return np.zeros((len(texts), 4), dtype=np.float32)


@pytest.fixture(scope="module")
def prompts(week):
    return some_prompts(load_log(week))[:20]


def test_prompts_are_different_requests_with_their_texts(week, prompts):
    texts = set(load_log(week).table.prompts["text"])
    assert len({text for _, text in prompts}) == 20
    assert {text for _, text in prompts} <= texts


def test_an_encoder_counts_and_one_that_kept_the_text_does_not_hide_it(prompts):
    plain = open_bundle(BUNDLE)
    reading = replace(plain, encoder=TextEncoder(Slow()))
    assert p99_ratio(reading, plain, REGISTRY, prompts, 0.0) > 2
    assert p99_ratio(plain, reading, REGISTRY, prompts, 0.0) < 0.5
    assert p99_ratio(reading, None, REGISTRY, prompts, 0.0) > 0.003 / (REGISTRY.policy.deadline_ms / 1e3)

"""Feedback on simulated answers: tests that are right, judges that are biased, users whose thumbs are noisy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from router_runtime.records import FeedbackSource
from training.simulate import Simulated
from training.simulated_world import Bools, Floats, Ints


class Signals(NamedTuple):
    """Feedback of one source.

    Args:
        source: Who.
        metric: What it is called.
        rows: Indices of the decisions, int64[k].
        value: 0..1, float64[k].
        time: UTC seconds since the epoch, float64[k].
    """

    source: FeedbackSource
    metric: str
    rows: Ints
    value: Floats
    time: Floats


def signals(drawn: Simulated, rows: Ints, rng: np.random.Generator) -> list[Signals]:
    """The feedback that decisions ``rows`` int64[k] get, one entry for each source; answers alone get any."""
    settings = drawn.settings
    quality = drawn.reward[rows]
    answered = np.isfinite(quality)
    quality = np.where(answered, quality, 0.0)
    n = len(rows)
    tested = answered & (rng.random(n) < settings.test_rate)
    judged = answered & (rng.random(n) < settings.judge_rate)
    speaks = settings.thumbs_rate * (1 - settings.silence_when_good * quality)
    thumbed = answered & (rng.random(n) < speaks)
    score = np.clip(quality + settings.judge_bias + rng.normal(0.0, settings.judge_noise, n), 0.0, 1.0)
    happy = (rng.random(n) < quality) ^ (rng.random(n) < settings.thumbs_noise)
    found: list[tuple[FeedbackSource, str, Bools, Floats]] = [
        ("test", "unit_test", tested, quality),
        ("judge", "judge_score", judged, score),
        ("user", "thumbs", thumbed, happy.astype(np.float64)),
    ]
    given = []
    for source, metric, mask, value in found:
        delay = 1.0 + 3600 * settings.delay_hours * rng.standard_exponential(n)
        given.append(Signals(source, metric, rows[mask], value[mask], (drawn.time[rows] + delay)[mask]))
    return given

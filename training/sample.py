"""The shipped sample: five models of the registry on made-up prompts, simulated from a stated model of skill.

``python -m training.sample`` writes it again.

P(right) follows a two-parameter logistic curve (item response theory, Birnbaum 1968): each model has a skill for each
kind of task, taken from the strengths that the shipped registry declares, and a slope; each prompt has a difficulty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.pricing import cost_usd, price_at
from router_runtime.registry import ModelEntry
from router_runtime.registry_reader import load_registry
from training.dataset import Table, save_table
from training.sample_prompts import MadePrompt, make_prompts

Floats = npt.NDArray[np.float64]

SAMPLE_FOLDER = Path(__file__).resolve().parents[1] / "data" / "sample"
SAMPLE_SEED = 20_260_401
SAMPLE_PROMPTS = 1_800
PRICES_OF = datetime(2026, 4, 1, tzinfo=UTC).timestamp()
MODELS = ("gpt-5.5", "claude-opus-4.7", "gemini-3.1-pro", "deepseek-v4-flash", "llama-4-scout")
SLOPES: Mapping[str, float] = {
    "gpt-5.5": 1.1,
    "claude-opus-4.7": 1.1,
    "gemini-3.1-pro": 1.3,
    "deepseek-v4-flash": 1.7,
    "llama-4-scout": 1.8,
}
"""How fast a model fails as tasks grow harder: the small ones know the easy tasks as well as the large ones do."""
VERBOSITY: Mapping[str, float] = {
    "gpt-5.5": 1.0,
    "claude-opus-4.7": 1.15,
    "gemini-3.1-pro": 1.1,
    "deepseek-v4-flash": 1.25,
    "llama-4-scout": 0.9,
}
TOKENS_PER_SECOND: Mapping[str, float] = {
    "gpt-5.5": 70.0,
    "claude-opus-4.7": 55.0,
    "gemini-3.1-pro": 90.0,
    "deepseek-v4-flash": 110.0,
    "llama-4-scout": 60.0,
}
LIFT = 0.6
"""Added to each skill, so that the mean quality of the pool is near the registry's priors."""


def make_sample(n: int = SAMPLE_PROMPTS, seed: int = SAMPLE_SEED) -> Table:
    """A full-information table of n made-up prompts; the same ``n`` and ``seed`` give the same table."""
    rng = np.random.default_rng(seed)
    made = make_prompts(n, rng)
    entries = [load_registry().models[name] for name in MODELS]
    ids = [f"s{place:05d}" for place in range(n)]
    quality = _qualities(made, entries, rng)
    tokens_in, tokens_out = _tokens(made, rng)
    prices = [price_at(entry, PRICES_OF) for entry in entries]
    cost = np.stack([np.asarray(cost_usd(p, tokens_in, tokens_out[:, m])) for m, p in enumerate(prices)], axis=1)
    seconds = 0.4 + tokens_out / [TOKENS_PER_SECOND[name] for name in MODELS] * rng.lognormal(0.0, 0.2, cost.shape)
    outcomes = pd.DataFrame(
        {
            "prompt_id": np.repeat(ids, len(MODELS)),
            "model": np.tile(MODELS, n),
            "quality": quality.ravel(),
            "input_tokens": np.repeat(tokens_in, len(MODELS)).astype(np.int32),
            "output_tokens": tokens_out.ravel().astype(np.int32),
            "cost_usd": cost.round(9).ravel(),
            "latency_ms": (seconds.ravel() * 100).round() * 10,
        }
    )
    models = pd.DataFrame(
        {
            "model": MODELS,
            "price_in_per_m": [price.input for price in prices],
            "price_out_per_m": [price.output for price in prices],
            "core_pool": True,
        }
    )
    return Table(_prompt_frame(ids, made), outcomes, models, "sample")


def write_sample(folder: Path = SAMPLE_FOLDER, n: int = SAMPLE_PROMPTS, seed: int = SAMPLE_SEED) -> Path:
    """Writes the sample as a table."""
    return save_table(make_sample(n, seed), folder)


def _prompt_frame(ids: Sequence[str], made: Sequence[MadePrompt]) -> pd.DataFrame:
    groups = pd.factorize(pd.Series([prompt.group for prompt in made]))[0]
    return pd.DataFrame(
        {
            "prompt_id": ids,
            "text": [prompt.text for prompt in made],
            "task": [prompt.kind.name for prompt in made],
            "domain": [prompt.kind.domain for prompt in made],
            "group": [f"g{group:04d}" for group in groups],
        }
    )


def _qualities(made: Sequence[MadePrompt], entries: Sequence[ModelEntry], rng: np.random.Generator) -> Floats:
    """Quality float64[n, M]: right or wrong, or a grade in quarters."""
    difficulty = np.array([prompt.difficulty for prompt in made])
    skill = np.array([[_skill(entry, prompt.kind.domain) for entry in entries] for prompt in made])
    slope = np.array([SLOPES[entry.name] for entry in entries])
    p = 1 / (1 + np.exp(-(skill + LIFT - slope * difficulty[:, None])))
    right = rng.random(p.shape) < p
    grade = rng.binomial(4, p) / 4
    graded = np.array([prompt.kind.graded for prompt in made])
    return np.asarray(np.where(graded[:, None], grade, right), dtype=np.float64)


def _skill(entry: ModelEntry, domain: str) -> float:
    """Log odds of the strength that the registry declares for the domain, else of the model's prior."""
    strength = entry.strengths.get(domain, entry.quality_prior)
    return float(np.log(strength / (1 - strength)))


def _tokens(made: Sequence[MadePrompt], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Whole input tokens float64[n] and output tokens float64[n, M]; harder tasks get longer answers."""
    encoded = np.array([len(prompt.text.encode()) for prompt in made])
    tokens_in = np.floor(8 + encoded / 4)
    median = np.array([prompt.kind.tokens * np.exp(0.25 * prompt.difficulty) for prompt in made])
    wordy = np.array([VERBOSITY[name] for name in MODELS])
    spread = rng.lognormal(0.0, 0.35, (len(made), len(MODELS)))
    return tokens_in, np.maximum(np.rint(median[:, None] * wordy * spread), 1.0)


if __name__ == "__main__":
    write_sample()

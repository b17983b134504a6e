"""A small made-up table: two topics, three models of different price, with a learnable pattern."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.dataset import Table

WORDS = {
    "math/sums": ["add", "minus", "times", "integral", "equation", "prove", "number"],
    "writing/verse": ["rhyme", "poem", "stanza", "sonnet", "story", "write", "ballad"],
}
PRICES = {"cheap": 0.1, "middle": 1.0, "dear": 10.0}
SKILL = {"cheap": (0.25, 0.85), "middle": (0.7, 0.5), "dear": (0.9, 0.88)}


def small_table(n: int = 200, seed: int = 0, name: str = "example") -> Table:
    """n prompts with complete outcomes; cost is exactly tokens × price."""
    rng = np.random.default_rng(seed)
    tasks = [sorted(WORDS)[i % 2] for i in range(n)]
    texts = [" ".join(rng.choice(WORDS[t], rng.integers(4, 12))) + f" {rng.integers(1000)}" for t in tasks]
    prompts = pd.DataFrame(
        {
            "prompt_id": [f"p{i}" for i in range(n)],
            "text": texts,
            "task": tasks,
            "domain": [t.partition("/")[0] for t in tasks],
            "group": [f"g{i // 2}" for i in range(n)],
        }
    )
    rows = []
    for i, task in enumerate(tasks):
        for model, price in PRICES.items():
            good = rng.random() < SKILL[model][0 if task.startswith("math") else 1]
            tokens_in, tokens_out = max(1, len(texts[i]) // 4), int(rng.integers(50, 200))
            cost = (tokens_in * price + tokens_out * 2 * price) / 1e6
            rows.append((f"p{i}", model, float(good), tokens_in, tokens_out, cost, 100.0 + tokens_out))
    columns = ["prompt_id", "model", "quality", "input_tokens", "output_tokens", "cost_usd", "latency_ms"]
    models = pd.DataFrame(
        {
            "model": list(PRICES),
            "price_in_per_m": list(PRICES.values()),
            "price_out_per_m": [2 * p for p in PRICES.values()],
            "core_pool": True,
        }
    )
    return Table(prompts, pd.DataFrame(rows, columns=columns), models, name)

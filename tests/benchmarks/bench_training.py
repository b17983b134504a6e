"""Time and memory of training: ``python -m tests.benchmarks.bench_training --out DIR``.

Made-up data of the stated size: 12,000 prompts × 10 models from fitting to the registered version, and a log of
1,000,000 rows with one answer each. Each case runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.dataset import Table
from training.learner import learner
from training.outcome_models import LearnConfig
from training.progress import Progress
from training.tracking import Tracker
from training.train import TrainSettings, train

CASES = {"table": (12_000, 10, 300.0, 8.0), "log": (1_000_000, 10, None, 8.0)}
"""Prompts, models, bar in seconds (None: none is set), bar in GB."""
TOPICS = 12
WORDS = 4000


def _word(number: int) -> str:
    """Four letters: digits end a word for the features, so that word1 and word2 would be one."""
    return "".join(chr(97 + number // 26**place % 26) for place in range(4))


def made_up(prompts: int, models: int, *, logged: bool, seed: int = 0) -> Table:
    """A table whose topics are easy for some models and hard for others; ``logged`` keeps one answer per prompt."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(TOPICS, size=prompts)
    vocabulary = np.array([_word(i) for i in range(WORDS)])
    first = topic * (WORDS // TOPICS)
    lengths = rng.integers(20, 120, size=prompts)
    texts = [
        " ".join(vocabulary[(start + rng.integers(WORDS // TOPICS + 200, size=n)) % WORDS])
        for start, n in zip(first, lengths, strict=True)
    ]
    ids = np.array([f"p{i}" for i in range(prompts)])
    tasks = np.array([f"topic {t}" for t in range(TOPICS)])[topic]
    frame = pd.DataFrame({"prompt_id": ids, "text": texts, "task": tasks, "domain": tasks, "group": ids})
    skill = rng.uniform(0.2, 0.95, size=(TOPICS, models))
    row = np.arange(prompts) if logged else np.repeat(np.arange(prompts), models)
    model = rng.integers(models, size=prompts) if logged else np.tile(np.arange(models), prompts)
    tokens = rng.integers(50, 800, size=len(row))
    names = np.array([f"model-{m}" for m in range(models)])
    price = np.geomspace(0.05, 10, models)
    outcomes = pd.DataFrame(
        {
            "prompt_id": ids[row],
            "model": names[model],
            "quality": (rng.random(len(row)) < skill[topic[row], model]).astype(float),
            "input_tokens": lengths[row],
            "output_tokens": tokens,
            "cost_usd": (lengths[row] * price[model] + tokens * 3 * price[model]) / 1e6,
            "latency_ms": 200.0 + 8 * tokens,
        }
    )
    if logged:
        outcomes["pscore"] = 1 / models
    entries = {"model": names, "price_in_per_m": price, "price_out_per_m": 3 * price, "core_pool": True}
    return Table(frame, outcomes, pd.DataFrame(entries), "made up")


def run_case(name: str) -> dict[str, Any]:
    """One case in this process."""
    prompts, models, seconds_bar, memory_bar = CASES[name]
    table = made_up(prompts, models, logged=name == "log")
    progress, config = Progress(), LearnConfig()
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker(f"sqlite:///{folder}/mlflow.db")
        start, cpu = time.monotonic(), time.process_time()
        settings = TrainSettings(learn=learner(config, progress))
        done = train(table, Path(folder) / "bundle", settings, tracker=tracker, progress=progress)
        seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "case": name,
        "prompts": prompts,
        "rows": len(table.outcomes),
        "models": models,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_gb": round(memory, 2),
        "parity": done.parity,
        "met": (seconds_bar is None or seconds <= seconds_bar) and memory <= memory_bar,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the cases; writes ``training.json`` and ``training.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--here", action="store_true", help="run one case in this process and print it")
    args = parser.parse_args(argv)
    if args.here:
        print(json.dumps(run_case(args.cases[0])))
        return 0
    command = [sys.executable, "-m", "tests.benchmarks.bench_training", "--here", "--cases"]
    found = []
    for name in args.cases:
        done = subprocess.run([*command, name], stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "training.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "training.md").write_text(markdown(found))
    print(markdown(found))
    return 0


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """The cases as a table."""
    lines = [
        "# Training: time and memory",
        "",
        "From the table in memory to the registered version, held-out figures and baselines included.",
        "",
        "| case | rows | seconds (bar) | CPU seconds | peak GB (bar) | met |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        _, _, seconds, memory = CASES[one["case"]]
        bar = f" (≤ {seconds:.0f})" if seconds else ""
        lines.append(
            f"| {one['case']} | {one['rows']:,} | {one['seconds']}{bar} | {one['cpu_seconds']} | "
            f"{one['peak_gb']} (≤ {memory:.0f}) | {'yes' if one['met'] else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())

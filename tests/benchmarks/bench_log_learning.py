"""Learning from partial logs against known truth: one answer per decision, chosen by another router.

``python -m tests.benchmarks.bench_log_learning --data DIR [--out DIR] [--tables …] [--seeds N] [--cache DIR]``
simulates a log of 50,000 decisions (ε = .1) on three quarters of each real table, learns from it, and counts what the
router would truly earn on the other prompts, beside the same learner given all answers and beside what one might do
instead. With ``--cache`` finished runs are kept and not made again. About ten minutes on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.log_worlds import LogWorld, imitated, learnt, logged_means, logging_earned
from training.bootstrap import draw_weights, group_codes, group_sums, interval
from training.outcome_models import LearnConfig

Floats = npt.NDArray[np.float64]

TABLES = ("mmlu_pro", "llmrouter", "routellm", "zeroeval", "bfcl")
DECISIONS = 50_000
BAR = 0.95
REPLICATES = 1000
ROWS = {
    "full": "our learner, all answers of all models",
    "log": "**our learner, the log**",
    "weighted": "the same, labels weighted by clipped inverse propensity",
    "means": "best logged mean of the (told) task, propensities ignored",
    "imitation": "classifier of the logged choice",
    "logging": "the router that wrote the log",
    "single": "best single model",
}


def one_run(folder: Path, seed: int, config: LearnConfig) -> dict[str, Any]:
    """Utility of each way on each test prompt of one log."""
    started = time.perf_counter()
    world = LogWorld.make(folder, DECISIONS, seed)
    utility = world.utility()
    rows = np.arange(len(utility))
    choices = {what: learnt(world, config, what) for what in ("full", "log", "weighted")}
    choices |= {"means": logged_means(world), "imitation": imitated(world)}
    earned = {what: utility[rows, choice] for what, choice in choices.items()}
    earned |= {"logging": logging_earned(world), "single": utility[:, utility.mean(axis=0).argmax()]}
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "prompts": len(world.train.prompts),
        "models": len(world.train.models),
        "groups": world.groups.tolist(),
        "earned": {what: np.round(values, 6).tolist() for what, values in earned.items()},
        "oracle": float(utility.max(axis=1).mean()),
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over all logs of a table, and shares of full information's utility with intervals by group."""
    groups = np.concatenate([[f"{place}:{name}" for name in run["groups"]] for place, run in enumerate(runs)])
    earned = np.column_stack([np.concatenate([run["earned"][what] for run in runs]) for what in ROWS])
    codes, count = group_codes(groups)
    draws = draw_weights(count, REPLICATES, 0) @ group_sums(earned, codes, count)
    names, out = list(ROWS), {}
    for place, what in enumerate(names):
        share = interval(earned[:, place].mean() / earned[:, 0].mean(), draws[:, place] / draws[:, 0])
        out[what] = {
            "utility": round(float(earned[:, place].mean()), 4),
            "share_of_full": [round(float(x), 4) for x in (share.value, share.low, share.high)],
        }
    return {
        "ways": out,
        "oracle": round(float(np.mean([run["oracle"] for run in runs])), 4),
        "met": bool(out["log"]["share_of_full"][0] >= BAR),
        "seconds": sum(run["seconds"] for run in runs),
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The report as tables."""
    lines = [
        "# Learning from partial logs",
        "",
        f"{DECISIONS:,} decisions (ε = .1) on three quarters of each table's groups, {report['seeds']} logs a table; "
        "true utility (quality less .2 · cost over the dearest model's mean cost) on the other prompts. In brackets: "
        f"95 % intervals by group over the test prompts. Bar: our learner on the log reaches {BAR:.0%} of full "
        "information.",
    ]
    for name, part in report["tables"].items():
        verdict = "met" if part["met"] else "**missed**"
        lines += ["", f"## {name} (bar {verdict}; oracle {part['oracle']:.4f}; {part['seconds']:.0f} s)", ""]
        lines += ["| learnt from | utility | share of full information |", "|---|---|---|"]
        for what, text in ROWS.items():
            one = part["ways"][what]
            value, low, high = one["share_of_full"]
            lines.append(f"| {text} | {one['utility']:.4f} | {value:.1%} ({low:.1%} to {high:.1%}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark and writes its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report"))
    parser.add_argument("--cache", type=Path, help="folder of finished runs, to go on with; none by default")
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--text-rows", type=int, default=6000, help="prompts that the text scores learn from")
    args = parser.parse_args()
    config = LearnConfig(text_rows=args.text_rows)
    report: dict[str, Any] = {"seeds": args.seeds, "decisions": DECISIONS, "text_rows": args.text_rows, "tables": {}}
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.tables:
        runs = [cached(args.cache, name, seed, args.data / name, config) for seed in range(args.seeds)]
        report["tables"][name] = summary(runs)
        (args.out / "log_learning.json").write_text(json.dumps(report, indent=1) + "\n")
        (args.out / "log_learning.md").write_text(markdown(report))
    print(markdown(report))


def cached(cache: Path | None, name: str, seed: int, folder: Path, config: LearnConfig) -> dict[str, Any]:
    """The run of a table and seed, from ``cache`` where it holds it."""
    if cache is None:
        return one_run(folder, seed, config)
    file = cache / f"{name}-{seed}-{config.text_rows}.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    cache.mkdir(parents=True, exist_ok=True)
    run = one_run(folder, seed, config)
    file.write_text(json.dumps(run))
    return run


if __name__ == "__main__":
    main()

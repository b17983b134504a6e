"""Off-policy evaluation against known truth: coverage, error, refusals and the gate's power, on the real tables.

``python -m tests.benchmarks.bench_ope --data DIR [--out DIR] [--seeds N] [--weeks N] [--tables …]`` writes ``ope.json``
and ``ope.md``. One thread; about 25 minutes for two tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from router_runtime.errors import NotSupported
from tests.benchmarks.ope_world import World, challenger, make_world, one_hot
from training.gate import Evidence, judge
from training.ope.apart import too_few_apart
from training.ope.compare import HEADLINE, compare, compare_segments
from training.ope.estimators import ESTIMATORS, BanditLog, estimate
from training.ope.intervals import Estimate
from training.ope.reward_model import crossfit_ridge
from training.ope.support import check_support, require_support

LOGGING = ("uniform", "epsilon", "softmax")
SIZES = (1_000, 5_000, 20_000)
WEEK = 20_000
CHANGES = (-0.02, 0.0, 0.02)
COVERAGE = (0.93, 0.97)
MOSTLY_REFUSED = 0.5


def coverage(world: World, logging: str, n: int, seeds: int) -> dict[str, Any]:
    """One cell: relative error, coverage and width of each estimator over ``seeds`` logs, and how many were refused."""
    share, policy = world.policy(logging), one_hot(world.evaluated)
    truth = float((policy * world.quality).sum(axis=1).mean())
    errors = {name: np.empty(seeds) for name in ESTIMATORS}
    hits = {name: np.empty(seeds) for name in ESTIMATORS}
    widths = {name: np.empty(seeds) for name in ESTIMATORS}
    ess, refused = np.empty(seeds), np.zeros(seeds, dtype=bool)
    for seed in range(seeds):
        log, rows, fold = world.draw(share, n, seed)
        q_hat = crossfit_ridge(world.features[rows], log, fold, share.shape[1], prior=world.predicted[rows])
        for name in ESTIMATORS:
            found = estimate(name, policy[rows], log, q_hat)
            errors[name][seed] = found.policy_value - truth
            hits[name][seed] = found.covers(truth)
            widths[name][seed] = found.ci_high - found.ci_low
        ess[seed] = found.ess
        refused[seed] = is_refused(policy[rows], share[rows], log)
    return {
        "truth": truth,
        "ess": float(ess.mean()),
        "refused": float(refused.mean()),
        "estimators": {
            name: {
                "relative_error": float(np.sqrt((errors[name] ** 2).mean())) / truth,
                "bias": float(errors[name].mean()) / truth,
                "coverage": float(hits[name].mean()),
                "coverage_where_supported": None if refused.all() else float(hits[name][~refused].mean()),
                "width": float(widths[name].mean()),
            }
            for name in ESTIMATORS
        },
    }


def is_refused(policy: Any, share: Any, log: BanditLog) -> bool:
    """Whether the support check refuses."""
    try:
        require_support(check_support(policy, share, log), policy, share, log)
    except NotSupported:
        return True
    return False


def refusals(world: World, seeds: int) -> dict[str, float]:
    """Share of refused logs by kind."""
    policy = one_hot(world.evaluated)
    favourite = policy.mean(axis=0).argmax()
    blind = world.policy("uniform").copy()
    blind[:, favourite] = 0
    kinds = {
        "deterministic": (world.policy("deterministic"), 5_000),
        "no overlap (favourite model never drawn)": (blind / blind.sum(axis=1, keepdims=True), 5_000),
        "supported: uniform, 5k": (world.policy("uniform"), 5_000),
        "supported: softmax, 5k": (world.policy("softmax"), 5_000),
        "supported: epsilon 0.1, 20k": (world.policy("epsilon"), 20_000),
    }
    out = {}
    for kind, (share, n) in kinds.items():
        drawn = (world.draw(share, n, seed)[:2] for seed in range(seeds))
        out[kind] = float(np.mean([is_refused(policy[rows], share[rows], log) for log, rows in drawn]))
    return out


def gate_power(world: World, logging: str, weeks: int) -> dict[str, Any]:
    """Share of simulated weeks in which challengers that are worse, equal or better by two points are promoted."""
    share = world.policy(logging)
    found: dict[str, list[tuple[bool, float, float, float]]] = {f"{change:+.2f}": [] for change in CHANGES}
    for week in range(weeks):
        log, rows, fold = world.draw(share, WEEK, week)
        q_hat = crossfit_ridge(world.features[rows], log, fold, share.shape[1], prior=world.predicted[rows])
        spent = BanditLog(log.action, world.cost[rows, log.action], log.pscore)
        expected = np.broadcast_to(world.cost.mean(axis=0), q_hat.shape)
        c_hat = crossfit_ridge(world.features[rows], spent, fold, share.shape[1], prior=expected, bounds=(0, np.inf))
        for change in CHANGES:
            champion, other = challenger(world, change, week)
            truth = float(((other - champion) * world.quality).sum(axis=1).mean())
            evidence = week_evidence(
                world, rows, share[rows], champion[rows], other[rows], (log, q_hat), (spent, c_hat)
            )
            assert evidence.quality is not None
            few = float(evidence.too_few is not None)
            found[f"{change:+.2f}"].append((judge(evidence).promote, truth, evidence.quality.se, few))
    return {
        name: {
            "promoted": float(np.mean([one[0] for one in values])),
            "true_difference": float(np.mean([one[1] for one in values])),
            "standard_error": float(np.mean([one[2] for one in values])),
            "too_few_apart": float(np.mean([one[3] for one in values])),
        }
        for name, values in found.items()
    }


def week_evidence(world: World, rows: Any, share: Any, champion: Any, other: Any, quality: Any, cost: Any) -> Evidence:
    """What the weekly job would measure; calibration, speed and size are taken to be in bounds."""
    gap = compare(other, champion, *quality, share=True)
    money = compare(other, champion, *cost)
    base = money.second.policy_value
    relative = money.difference
    domains = {f"domain={name}": world.domain[rows] == name for name in np.unique(world.domain)}
    return Evidence(
        quality=gap.difference,
        cost=Estimate(
            relative.policy_value / base, relative.se / base, relative.ci_low / base, relative.ci_high / base, 1.0, WEEK
        ),
        too_few=too_few_apart(other, champion, share, quality[0]),
        segments=compare_segments(other, champion, *quality, domains),
        ece=0.0,
        p99_ratio=1.0,
        bundle_bytes=0,
    )


def table_report(folder: Path, seeds: int, weeks: int) -> dict[str, Any]:
    """One table: every cell, refusals and the gate."""
    started = time.perf_counter()
    world = make_world(folder)
    cells = {f"{name}/{n}": coverage(world, name, n, seeds) for name in LOGGING for n in SIZES}
    return {
        "prompts": len(world.quality),
        "models": world.quality.shape[1],
        "cells": cells,
        "refused": refusals(world, seeds),
        "gate": {name: gate_power(world, name, weeks) for name in ("epsilon", "epsilon20")} if weeks else {},
        "seconds": round(time.perf_counter() - started, 1),
    }


def bar_lines(cells: Mapping[str, Any], seeds: int) -> list[str]:
    """Which cells miss the bars of the headline estimator; cells whose logs are refused make no claim."""
    claimed = {name: cell for name, cell in cells.items() if cell["refused"] <= MOSTLY_REFUSED}
    error, off = [], []
    for name, cell in claimed.items():
        ours = cell["estimators"][HEADLINE]
        if ours["relative_error"] > min(cell["estimators"][other]["relative_error"] for other in ("snips", "ips")):
            error.append(name)
        if not COVERAGE[0] <= ours["coverage"] <= COVERAGE[1]:
            off.append(f"{name} ({100 * ours['coverage']:.1f})")
    noise = 100 * float(np.sqrt(0.95 * 0.05 / seeds))
    return [
        f"`{HEADLINE}` in the {len(claimed)} cells whose logs are not refused: error above that of SNIPS or IPS in "
        f"{', '.join(error) or 'none'}; coverage outside 93–97 % in {', '.join(off) or 'none'} (one standard error of "
        f"a coverage is {noise:.1f} points).",
    ]


def markdown(report: Mapping[str, Any]) -> str:
    """The report as tables."""
    lines = [
        "# Off-policy evaluation against known truth",
        "",
        f"{report['seeds']} logs a cell, drawn from real tables; nominal coverage 95 %. `err` is the root mean squared "
        "error over the true value, in %; `cov` the share of intervals that hold the truth, in %.",
    ]
    for name, part in report["tables"].items():
        lines += ["", f"## {name}: {part['prompts']:,} prompts, {part['models']} models ({part['seconds']} s)", ""]
        lines.append("| log | n | ESS | refused | " + " | ".join(f"{e} err | {e} cov" for e in ESTIMATORS) + " |")
        lines.append("|" + "---|" * (4 + 2 * len(ESTIMATORS)))
        for cell, found in part["cells"].items():
            logging, n = cell.split("/")
            figures = [
                f"{100 * one['relative_error']:.2f} | {100 * one['coverage']:.1f}"
                for one in found["estimators"].values()
            ]
            lines.append(
                f"| {logging} | {n} | {found['ess']:.0f} | {found['refused']:.1%} | " + " | ".join(figures) + " |"
            )
        lines += ["", *bar_lines(part["cells"], report["seeds"])]
        lines += ["", "| log | refused |", "|---|---|"]
        lines += [f"| {kind} | {share:.1%} |" for kind, share in part["refused"].items()]
        for logging, found in part["gate"].items():
            lines += ["", f"Gate, {report['weeks']} weeks of {WEEK:,} decisions logged with {logging}:", ""]
            lines += [
                "| challenger | true difference | standard error | too few apart | promoted |",
                "|---|---|---|---|---|",
            ]
            lines += [
                f"| {c} | {v['true_difference']:+.4f} | {v['standard_error']:.4f} | {v['too_few_apart']:.1%} "
                f"| {v['promoted']:.1%} |"
                for c, v in found.items()
            ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark and writes its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report/ope"))
    parser.add_argument("--tables", nargs="+", default=["mmlu_pro", "llmrouter"])
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--weeks", type=int, default=200)
    args = parser.parse_args()
    report: dict[str, Any] = {"seeds": args.seeds, "weeks": args.weeks, "decisions_a_week": WEEK, "tables": {}}
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.tables:
        report["tables"][name] = table_report(args.data / name, args.seeds, args.weeks)
        (args.out / "ope.json").write_text(json.dumps(report, indent=1))
        (args.out / "ope.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()

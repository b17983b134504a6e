"""Routing quality on real tables: ``python -m tests.benchmarks.bench_quality --data DIR --out DIR``.

Writes ``quality.json``, ``quality.md`` and PNGs: every metric with its interval, for ours and all baselines, on
held-out prompts; the day-one measurements; and the table of bars, met or not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.quality_bars import bar_lines, bars
from tests.benchmarks.quality_runs import Bench, leave_one_model_out, leave_one_table_out, measure_table
from training.model_card import losing_rows, metrics_table
from training.progress import Progress

TABLES = ("mmlu_pro", "zeroeval", "llmrouter", "bfcl", "routellm")
LEARNT_TOGETHER = ("mmlu_pro", "zeroeval", "llmrouter")
FEW_PROMPTS = ("zeroeval", "llmrouter")
"""Tables on which every model is left out in turn; a fit for each takes too long on the larger ones."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is asked for and adds it to the report that is there."""
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.data, args.cache, args.folds, args.seed, Progress(), args.threads)
    place = args.out / "quality.json"
    report: dict[str, Any] = json.loads(place.read_text()) if place.is_file() else {}
    for name in args.tables:
        found, figures = measure_table(bench, name)
        report.setdefault("tables", {})[name] = found
        for file, data in figures.items():
            (args.out / f"{name}_{file}").write_bytes(data)
        write(args.out, report, bench)
    if args.day_one:
        add_day_one(bench, report, args.out)
    write(args.out, report, bench)
    print("\n".join(bar_lines(report)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report"))
    parser.add_argument("--cache", type=Path, default=Path("out/bench-cache"))
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=list(TABLES))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of the trees; 1 where the machine is busy")
    parser.add_argument("--day-one", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args(argv)


def add_day_one(bench: Bench, report: dict[str, Any], out: Path) -> None:
    """Leave one table out, then leave one model out."""
    day: dict[str, Any] = report.setdefault("day_one", {})
    for name in (*LEARNT_TOGETHER, "bfcl"):
        others = [other for other in LEARNT_TOGETHER if other != name]
        day.setdefault("table_left_out", {})[name] = leave_one_table_out(bench, name, others)
        write(out, report, bench)
    for name in FEW_PROMPTS:
        day.setdefault("model_left_out", {})[name] = leave_one_model_out(bench, name)
        write(out, report, bench)


def write(out: Path, report: dict[str, Any], bench: Bench) -> None:
    """Both forms of the report."""
    report["bars"] = bars(report)
    report["setting"] = {"folds": bench.folds, "seed": bench.seed, "pool": "core", "unit": "group"}
    (out / "quality.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    (out / "quality.md").write_text(markdown(report) + "\n")


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    setting = report["setting"]
    parts = [
        "# Routing quality on held-out prompts",
        "",
        f"{setting['folds']} folds by group, seed {setting['seed']}, core pools. 95 % paired bootstrap intervals over "
        "groups. Costs are shares of the best single model's. Random mix: strongest and cheapest model only; Zero: "
        "hull of all single models. `task_table` is told the true task label; the oracle knows all outcomes.",
        "",
        "## Bars",
        "",
        *bar_lines(report),
    ]
    for name, table in report.get("tables", {}).items():
        parts += ["", f"## {name}", "", *table_lines(name, table)]
    if "day_one" in report:
        parts += ["", "## Day one", "", *day_one_lines(report["day_one"])]
    return "\n".join(parts)


def table_lines(name: str, table: Mapping[str, Any]) -> list[str]:
    """One table's section."""
    counts, calibration = table["counts"], table["calibration"]
    lost = losing_rows(table)
    noise = calibration.get("ece_max_if_exact")  # reports of before it was measured lack it
    exact = "" if noise is None else f"; predictions that are exactly right would show {noise:.3f} on so many prompts"
    families = [
        f"- {family}: " + ", ".join(f"{router} {row['apgr']:.3f}" for router, row in rows.items())
        for family, rows in table.get("families", {}).items()
        if all(row.get("apgr") is not None for row in rows.values())
    ]
    return [
        f"{counts['prompts_used']} prompts × {counts['models_used']} models; best single model {table['best_single']}.",
        "",
        metrics_table(table),
        "",
        f"Calibration: ECE {calibration['ece_mean']:.3f} on average, {calibration['ece_max']:.3f} at worst{exact}.",
        "",
        *([f"APGR within {name}'s families:", "", *families, ""] if families else []),
        "Where it loses: " + ("; ".join(lost) if lost else "nowhere beyond the interval") + ".",
        "",
        f"![frontier]({name}_frontier.png) ![reliability]({name}_reliability.png)",
    ]


def day_one_lines(day: Mapping[str, Any]) -> list[str]:
    """AIQ above the router that knows priors alone."""
    lines = [
        "AIQ minus that of the Zero router of the priors alone. A prior is the model's true mean quality, to the "
        "nearest 0.05, for both.",
        "",
    ]
    for kind, entries in day.items():
        for name, entry in entries.items():
            low, high = entry["difference"]["intervals"]["aiq"]
            value = entry["difference"]["aiq"]
            lines.append(f"- {kind.replace('_', ' ')}, {name}: {value:+.4f} ({low:+.4f} to {high:+.4f})")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())

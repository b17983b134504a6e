"""Time and memory of the weekly job: ``python -m tests.benchmarks.bench_retrain --out DIR``.

A made-up week (1,000,000 decisions over a table of 200,000 prompts and ten models, softmax logging, feedback on all, a
day late on average) is written by one process; ``python -m training retrain`` then runs in another one, as a timer
would start it, twice: the first week has no champion, the second one is judged against it. Memory is each process's own
peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_training import made_up
from training.dataset import save_table

BAR_S, BAR_GB = 1200.0, 8.0
DECISIONS, PROMPTS, MODELS = 1_000_000, 200_000, 10


def measured(arguments: Sequence[str], env: dict[str, str]) -> tuple[int, str, float, float]:
    """Runs ``python -m training …``: exit code, stdout, seconds, peak GB."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, "-m", "training", *arguments], stdout=out, env=env)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return process.returncode, out.read(), time.monotonic() - start, used.ru_maxrss / 1e6


def run(decisions: int, prompts: int, folder: Path) -> dict[str, Any]:
    """Writes the weeks and retrains on each; JSON-ready."""
    env = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    save_table(made_up(prompts, MODELS, logged=False), folder / "table")
    found: dict[str, Any] = {"decisions": decisions, "prompts": prompts, "models": MODELS, "load": os.getloadavg()[0]}
    for week in (1, 2):
        start = 1_775_001_600 + (week - 1) * 7 * 86_400
        log = folder / f"log-{week}"
        simulate = ["simulate", "--table", str(folder / "table"), "--policy", "softmax", "--temperature", "0.2"]
        simulate += ["--n", str(decisions), "--seed", str(week), "--start", str(start), "--delay-hours", "24"]
        code, text, seconds, memory = measured([*simulate, "--out", str(log), "--quiet", "--json"], env)
        require(code == 0, f"simulate: {text}")
        asked = json.loads(text)["prompts"]
        simulated = {"prompts": asked, "seconds": round(seconds, 1), "peak_gb": round(memory, 2)}
        window = ["--since", time.strftime("%Y-%m-%d", time.gmtime(start)), "--until"]
        window.append(time.strftime("%Y-%m-%d", time.gmtime(start + 7 * 86_400)))
        retrain = ["retrain", "--store", str(log), *window, "--out", str(folder / "champion"), "--json"]
        code, text, seconds, memory = measured(retrain, env)
        require(code in (0, 3, 4), f"retrain: {text}")
        document = json.loads(text)
        found[f"week_{week}"] = {
            "simulate": simulated,
            "seconds": round(seconds, 1),
            "peak_gb": round(memory, 2),
            "outcome": document["outcome"],
            "reasons": document["verdict"]["reasons"],
            "used": document["counts"]["labels.used"],
        }
        if week == 1 and document["outcome"] != "promoted":  # the second week shall have a champion to beat
            why = ["--force", "--reason", "benchmark", "--out", str(folder / "champion"), "--json"]
            code, text, _, _ = measured(["promote", "--latest", *why], env)
            require(code == 0, f"promote: {text}")
    weeks = [found["week_1"], found["week_2"]]
    found["met"] = all(week["seconds"] <= BAR_S and week["peak_gb"] <= BAR_GB for week in weeks)
    return found


def require(holds: bool, reason: str) -> None:
    """Ends the benchmark where a command did not do its work."""
    if not holds:
        raise SystemExit(reason)


def markdown(found: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        f"# The weekly job: {found['decisions']:,} decisions, {found['models']} models",
        "",
        f"Bars: {BAR_S / 60:.0f} minutes and {BAR_GB:.0f} GB on 2 cores. Load when it began: {found['load']:.1f}.",
        "",
        "| week | prompts asked | seconds | peak GB | labels used | outcome | writing the log |",
        "|---|---|---|---|---|---|---|",
    ]
    for week in (1, 2):
        one = found[f"week_{week}"]
        wrote = f"{one['simulate']['seconds']} s, {one['simulate']['peak_gb']} GB"
        row = [
            week,
            f"{one['simulate']['prompts']:,}",
            one["seconds"],
            one["peak_gb"],
            f"{one['used']:,}",
            one["outcome"],
            wrote,
        ]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join([*lines, "", f"Bars {'met' if found['met'] else 'MISSED'}.", ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it, writes ``retrain.json`` and ``retrain.md``; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_retrain", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report"))
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = run(args.decisions, args.prompts, Path(folder))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "retrain.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "retrain.md").write_text(markdown(found))
    print(markdown(found))
    return 0 if found["met"] else 1


if __name__ == "__main__":
    raise SystemExit(main())

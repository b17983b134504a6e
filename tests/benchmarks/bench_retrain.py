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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_training import made_up
from training.dataset import save_table

BAR_S, BAR_GB = 1200.0, 8.0
DECISIONS, PROMPTS, MODELS = 1_000_000, 200_000, 10
WEEKS = (1, 2)


def measured(arguments: Sequence[str], env: dict[str, str]) -> tuple[int, str, dict[str, float]]:
    """Runs ``python -m training …``: exit code, stdout, and what it took."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, "-m", "training", *arguments], stdout=out, env=env)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        took = {
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_gb": round(used.ru_maxrss / 1e6, 2),
        }
        return process.returncode, out.read(), took


def run(decisions: int, prompts: int, folder: Path, through: int = WEEKS[-1]) -> dict[str, Any]:
    """Writes the weeks and retrains on each one ``through`` that week; JSON-ready. What ``folder`` holds stays."""
    env = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    if not (folder / "table").is_dir():
        save_table(made_up(prompts, MODELS, logged=False), folder / "table")
    wrote = {
        week: once(folder / f"log-{week}.json", lambda week=week: write(week, decisions, folder, env)) for week in WEEKS
    }
    found: dict[str, Any] = {"decisions": decisions, "prompts": prompts, "models": MODELS}
    for week in WEEKS[:through]:
        judged = once(folder / f"week-{week}.json", lambda week=week: learn(week, folder, env))
        found[f"week_{week}"] = {"simulate": wrote[week], **judged}
    weeks = [found[f"week_{week}"] for week in WEEKS[:through]]
    found["met"] = all(week["seconds"] <= BAR_S and week["peak_gb"] <= BAR_GB for week in weeks)
    return found


def once(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``file`` holds; where there is none, what ``make`` makes, and it is kept there."""
    if not file.is_file():
        file.write_text(json.dumps(make()))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def write(week: int, decisions: int, folder: Path, env: dict[str, str]) -> dict[str, Any]:
    """The log of a week: how many prompts were asked, and what writing it took."""
    simulate = ["simulate", "--table", str(folder / "table"), "--policy", "softmax", "--temperature", "0.2"]
    simulate += ["--n", str(decisions), "--seed", str(week), "--start", str(start_of(week)), "--delay-hours", "24"]
    code, text, took = measured([*simulate, "--out", str(folder / f"log-{week}"), "--quiet", "--json"], env)
    require(code == 0, f"simulate: {text}")
    return {"prompts": json.loads(text)["prompts"], **took}


def learn(week: int, folder: Path, env: dict[str, str]) -> dict[str, Any]:
    """The weekly job on it: time, memory and outcome."""
    days = [time.strftime("%Y-%m-%d", time.gmtime(start_of(one))) for one in (week, week + 1)]
    champion = ["--out", str(folder / "champion"), "--json"]
    load = os.getloadavg()[0]
    retrain = ["retrain", "--store", str(folder / f"log-{week}"), "--since", days[0], "--until", days[1], *champion]
    code, text, took = measured(retrain, env)
    require(code in (0, 3, 4), f"retrain: {text}")
    document = json.loads(text)
    if week == 1 and document["outcome"] != "promoted":  # the second week shall have a champion to beat
        code, text, _ = measured(["promote", "--latest", "--force", "--reason", "benchmark", *champion], env)
        require(code == 0, f"promote: {text}")
    return {
        "load": round(load, 1),
        "cores": len(os.sched_getaffinity(0)),
        **took,
        "outcome": document["outcome"],
        "reasons": document["verdict"]["reasons"],
        "used": document["counts"]["labels.used"],
    }


def start_of(week: int) -> int:
    """UTC seconds since the epoch."""
    return 1_775_001_600 + (week - 1) * 7 * 86_400


def require(holds: bool, reason: str) -> None:
    """Ends the benchmark where a command did not do its work."""
    if not holds:
        raise SystemExit(reason)


def markdown(found: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [
        f"# The weekly job: {found['decisions']:,} decisions, {found['models']} models",
        "",
        f"Bars: {BAR_S / 60:.0f} minutes and {BAR_GB:.0f} GB on 2 cores.",
        "",
        "| week | cores (load) | prompts asked | seconds | CPU s | peak GB | labels used | outcome | writing the log |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for week in WEEKS:
        one = found[f"week_{week}"]
        wrote = f"{one['simulate']['seconds']} s, {one['simulate']['peak_gb']} GB"
        row = [
            week,
            f"{one['cores']} ({one['load']})",
            f"{one['simulate']['prompts']:,}",
            one["seconds"],
            one["cpu_seconds"],
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
    parser.add_argument("--work", type=Path, help="folder to keep what was made, and to go on from there")
    parser.add_argument("--through", type=int, choices=(0, *WEEKS), default=WEEKS[-1], help="stop after this week")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as own:
        folder = args.work or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(args.decisions, args.prompts, folder, args.through)
    if args.through < WEEKS[-1]:
        print(json.dumps(found, indent=1))
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "retrain.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "retrain.md").write_text(markdown(found))
    print(markdown(found))
    return 0 if found["met"] else 1


if __name__ == "__main__":
    raise SystemExit(main())

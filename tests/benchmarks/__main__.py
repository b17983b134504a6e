"""``make bench``: every benchmark, each in a process of its own, into one folder.

Those that need something beside the tables of ``--data`` are named by a flag; without it a line says what was left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.postgres_server import programs

_SHORT_MINUTES = 2.0


def plan(args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, str]]:
    """(arguments by benchmark, in the order of the runs; why by benchmark that is left out)."""
    out, data = ["--out", str(args.out)], ["--data", args.data]
    gateway, skipped = ["--out", str(args.out / "gateway")], {}
    runs = {
        "bench_decision": [*out, "--bundle", "models/default"],
        "bench_engine": ["--json", str(args.out / "engine.json")],
        "bench_budgets": out,
        "bench_streams_memory": [],
        "bench_gateway": gateway,
        "bench_gateway_life": gateway,
        "bench_soak": [*gateway, "--minutes", f"{args.soak_minutes:g}"],
        "bench_memory": [*data, "--out", str(args.out / "memory")],
        "bench_agents": [*data, "--out", str(args.out / "agents")],
        "bench_training": out,
        "bench_retrain": out,
        "bench_quality": [*data, *out],
        "bench_ope": [*data, "--out", str(args.out / "ope")],
        "bench_log_learning": [*data, *out],
    }
    if args.litellm_venv is None:
        skipped["bench_gateway beside LiteLLM"] = "its proxy; name its environment by --litellm-venv DIR"
    else:
        runs["bench_gateway"] = [*gateway, "--litellm-venv", str(args.litellm_venv)]
    if args.soak_minutes == _SHORT_MINUTES:
        skipped["bench_soak at its full length"] = "half an hour; ask for it by --soak-minutes 30"
    try:
        programs()
    except RuntimeError as error:
        skipped["bench_log_stall"] = f"a PostgreSQL: {error}"
    else:
        runs["bench_log_stall"] = gateway
    if args.only:
        runs = {name: runs[name] for name in runs if name in args.only}
    return runs, skipped


def main(argv: Sequence[str] | None = None) -> int:
    """Runs them in turn; gives the last exit code that is not 0, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the real tables")
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report"))
    parser.add_argument("--litellm-venv", type=Path, metavar="DIR", help="measure this environment's LiteLLM proxy too")
    parser.add_argument(
        "--soak-minutes", type=float, default=_SHORT_MINUTES, metavar="N", help="of the soak (default 2)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone, such as bench_gateway")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    runs, skipped = plan(args)
    for name, need in skipped.items():
        print(f"== {name} is left out: it needs {need}", flush=True)
    code = 0
    for name, arguments in runs.items():
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *arguments], check=False)
        code = done.returncode or code
    return code


if __name__ == "__main__":
    raise SystemExit(main())

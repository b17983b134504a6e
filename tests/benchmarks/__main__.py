"""``make bench``: every benchmark, each in a process of its own, into one folder."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs them in turn; gives the last exit code that is not 0, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the real tables")
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    out, data = ["--out", str(args.out)], ["--data", args.data]
    runs = {
        "bench_decision": [*out, "--bundle", "models/default"],
        "bench_engine": ["--json", str(args.out / "engine.json")],
        "bench_training": out,
        "bench_retrain": out,
        "bench_quality": [*data, *out],
        "bench_ope": [*data, "--out", str(args.out / "ope")],
        "bench_log_learning": [*data, *out],
    }
    code = 0
    for name, arguments in runs.items():
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *arguments], check=False)
        code = done.returncode or code
    return code


if __name__ == "__main__":
    raise SystemExit(main())

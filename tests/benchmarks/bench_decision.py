"""What a decision costs: ``python -m tests.benchmarks.bench_decision --out DIR`` writes and prints JSON and Markdown.

Whole ``Router.route`` with 20 candidates at several sizes of prompt, on one thread: CPU time of the thread, and wall
time. Beside it, in the same run: an empty onnxruntime run, and the same text through scikit-learn's HashingVectorizer
(words and pairs) with a linear model. Also: start-up time in a fresh process, and memory after 10,000 decisions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline

from router_runtime import Router
from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.registry import Registry
from router_runtime.registry_reader import parse_registry
from tests.training.graph_examples import linear_parts, prompts, train_booster
from training.export import export_graph
from training.graph_parts import GraphParts

SIZES = {"0 B": 0, "1 kB": 1 << 10, "8 kB": 8 << 10, "100 kB": 100 << 10, "1 MB": 1 << 20}
CANDIDATES = 20
BARS = {("1 kB", "cpu_p50_ms"): 0.25, ("8 kB", "cpu_p99_ms"): 0.7, ("100 kB", "cpu_p50_ms"): 0.6}
_WORDS = [*Path(__file__).read_text().split(), "汉字", "naïve", "Wörter", "данные", "```python\n", "$x^2$"]

_START_UP = """
import sys, time
started = time.perf_counter()
from router_runtime import Router
router = Router.open(sys.argv[1], state_dir=None)
opened = time.perf_counter() - started
for n in range(10_000):
    router.route(f"question {n}: what is the sum of {n} and {n * 7}? " * (n % 20))
with open("/proc/self/status") as status:
    rss = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
print(opened, rss)
"""


def text_of(size: int) -> str:
    """About ``size`` bytes of words in random order, the same at each call."""
    rng = np.random.default_rng(size)
    words = rng.choice(_WORDS, size=size // 4 + 1)
    return " ".join(words).encode()[:size].decode("utf-8", "ignore")


def measure(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Percentiles of CPU and wall time in ms, after a warm-up."""
    for _ in range(max(repeats // 20, 3)):
        call()
    rows = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        call()
        rows.append((time.thread_time_ns() - cpu, time.perf_counter_ns() - wall))
    cpu_ms, wall_ms = np.array(rows).T / 1e6
    return {
        "cpu_p50_ms": round(float(np.percentile(cpu_ms, 50)), 4),
        "cpu_p99_ms": round(float(np.percentile(cpu_ms, 99)), 4),
        "wall_p50_ms": round(float(np.percentile(wall_ms, 50)), 4),
        "wall_p99_ms": round(float(np.percentile(wall_ms, 99)), 4),
    }


def full_size_parts() -> GraphParts:
    """20 models, 14 domains and 300 trees of 15 leaves: the size of a real bundle, with random weights."""
    parts = linear_parts(CANDIDATES, 14, more=2, extra=4)
    booster = train_booster(parts, prompts(150), trees=300, num_leaves=15)
    return GraphParts(**{**vars(parts), "booster": booster})


def registry_like(names: list[str]) -> Registry:
    """A registry whose first models are the bundle's; 20 in all."""
    listed = [*names, *(f"other-{number}" for number in range(CANDIDATES))][:CANDIDATES]
    price = "prices: [{valid_from: 2026-04-01, input: 1, output: 2}]"
    rows = "".join(f"  {json.dumps(name)}: {{provider: p, context_window: 10000000, {price}}}\n" for name in listed)
    return parse_registry(
        f"providers: {{p: {{adapter: openai, base_url: 'http://localhost:1'}}}}\nmodels:\n{rows}".encode()
    )


def empty_run() -> Callable[[], Any]:
    """One onnxruntime run that only adds two numbers."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "empty", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": np.zeros(1, np.float32)}
    return lambda: session.run(None, feed)


def sklearn_pipeline() -> Any:
    """Hashed words and pairs under a linear model, fitted on a few texts."""
    pipeline = make_pipeline(HashingVectorizer(n_features=1 << 16, ngram_range=(1, 2)), SGDClassifier(loss="log_loss"))
    return pipeline.fit([text_of(size) for size in range(100, 2000, 100)], [0, 1] * 9 + [0])


def run(bundle: Path, repeats: int) -> dict[str, Any]:
    """All figures."""
    opened = open_bundle(bundle)
    router = Router.open(opened, registry=registry_like([m.name for m in opened.manifest.models]), state_dir=None)
    static = Router.open(None, registry=router.live.snapshot(time.time()).registry, state_dir=None)
    pipeline = sklearn_pipeline()
    report: dict[str, Any] = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
        },
        "versions": {"python": platform.python_version(), "onnxruntime": ort.__version__, "numpy": np.__version__},
        "candidates": CANDIDATES,
        "bundle": {"version": opened.version, "bytes": len(opened.onnx), "models": len(opened.manifest.models)},
        "empty_onnxruntime_run": measure(empty_run(), repeats),
        "without_bundle": measure(lambda: static.route("Hello"), repeats),
        "sizes": {},
    }
    for name, size in SIZES.items():
        text = text_of(size)
        ours = measure(lambda text=text: router.route(text), repeats)
        theirs = measure(
            lambda text=text: pipeline.predict_proba([text]), max(repeats // (20 if size < 50_000 else 200), 5)
        )
        ratio = round(theirs["cpu_p50_ms"] / ours["cpu_p50_ms"], 2)
        report["sizes"][name] = {"route": ours, "sklearn": theirs, "sklearn_over_route": ratio}
    report["start_up"] = start_up(bundle)
    report["bars"] = {
        f"{size} {key}": {"bar": bar, "found": report["sizes"][size]["route"][key]} for (size, key), bar in BARS.items()
    }
    return report


def start_up(bundle: Path) -> dict[str, float]:
    """Seconds to import and open, and MB resident after 10,000 decisions, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _START_UP, str(bundle)], capture_output=True, text=True, check=True
    )  # fmt: skip
    opened, rss = (float(value) for value in done.stdout.split())
    return {"import_and_open_s": round(opened, 3), "resident_mb_after_10000": round(rss, 1)}


def markdown(report: dict[str, Any]) -> str:
    """The same as a page."""
    machine = report["machine"]
    lines = [
        "# Cost of a decision",
        "",
        f"One thread, {report['candidates']} candidates, {machine['cores']} cores, load {machine['load'][0]:.1f}.",
        "",
        "| prompt | CPU p50 ms | CPU p99 ms | wall p50 ms | wall p99 ms | scikit-learn CPU p50 ms | times ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["sizes"].items():
        route = row["route"]
        cells = (route["cpu_p50_ms"], route["cpu_p99_ms"], route["wall_p50_ms"], route["wall_p99_ms"])
        theirs = f"{row['sklearn']['cpu_p50_ms']:.3f} | {row['sklearn_over_route']}"
        lines.append(f"| {name} | {' | '.join(f'{c:.3f}' for c in cells)} | {theirs} |")
    start = report["start_up"]
    return "\n".join(
        [
            *lines,
            "",
            f"Empty onnxruntime run: {report['empty_onnxruntime_run']['cpu_p50_ms']:.4f} ms. "
            f"A decision without a bundle: {report['without_bundle']['cpu_p50_ms']:.4f} ms.",
            f"Import and open: {start['import_and_open_s']} s. "
            f"Resident after 10,000 decisions: {start['resident_mb_after_10000']} MB.",
            "",
            *(f"- {name}: {row['found']} (bar {row['bar']})" for name, row in report["bars"].items()),
            "",
        ]
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the report")
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="a bundle (default: one of random weights and 300 trees)"
    )
    parser.add_argument("--repeats", type=int, default=2000, metavar="N")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle
        if bundle is None:
            parts = full_size_parts()
            manifest = {"models": [{"name": name} for name in parts.models], "domains": list(parts.domains)}
            bundle = write_bundle(Path(folder) / "bundle", export_graph(parts), manifest, "# Random weights\n")
        report = run(bundle, arguments.repeats)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "decision.json").write_text(json.dumps(report, indent=1) + "\n")
    (arguments.out / "decision.md").write_text(markdown(report))
    print(json.dumps(report))
    print(markdown(report))


if __name__ == "__main__":
    main()

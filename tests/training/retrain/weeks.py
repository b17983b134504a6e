"""Small weeks to retrain on, and what must hold after each of them, however it ended.

As a program (``python -m tests.training.retrain.weeks LOG FOLDER STEP``) it retrains and kills itself at a step.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from router_runtime.bundle import open_bundle
from router_runtime.registry_reader import parse_registry
from training.dataset import load_table
from training.gate import GateRules
from training.outcome_models import LearnConfig
from training.promotion import Promoter
from training.quality_head import TreeConfig
from training.retrain.job import Config, Job
from training.retrain.state import State
from training.retrain.weekly import retrain
from training.retrain.window import Window
from training.run_record import MODEL
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings
from training.tracking import Tracker

START = SimulationSettings(policy="uniform").start
DAY = 86_400.0
WEEK = Window(START, START + 7 * DAY, START + 9 * DAY)
LEARN = LearnConfig(text_rows=400, rank=8, trees=TreeConfig(rounds=10))
# So generous that a week of chance never decides a test about something else.
RULES = GateRules(quality_margin=0.5, strict_margin=9.0, segment_margin=1.0, max_ece=0.9, max_p99_ratio=50.0)
HOPELESS = replace(RULES, quality_margin=-0.9)
STEPS = (
    "seal", "learn", "fit", "judge", "package", "register", "registered",
    "intent", "record", "alias", "serve", "served", "report", "settle",
)  # fmt: skip
REGISTRY = parse_registry(b"""\
providers: {p: {adapter: openai, base_url: 'http://localhost:1'}}
models: {m: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 2}]}}
""")


def write_log(out: Path, policy: str = "uniform", n: int = 700, seed: int = 1, **settings: float) -> Path:
    """A simulated week of the shipped sample."""
    table = load_table(Path(__file__).resolve().parents[3] / "data" / "sample")
    simulate(table, out, SimulationSettings(policy=policy, **settings), n, seed)
    return out


def job_of(log: Path, folder: Path, rules: GateRules = RULES, **changes: object) -> Job:
    """Retraining on ``log``; everything it writes lies in ``folder``."""
    config = Config(learn=LEARN, rules=rules, folds=2, min_rows=300)
    job = Job(str(log), WEEK, REGISTRY, folder / "served", folder / "state", config, author="test")
    return replace(job, **changes)


def tracker_of(folder: Path) -> Tracker:
    """The MLflow of ``folder``."""
    return Tracker(f"sqlite:///{folder}/mlflow.db")


def promoter_of(folder: Path) -> Promoter:
    """Moves the champion of ``folder``."""
    return Promoter(tracker_of(folder), folder / "served", State(folder / "state"))


def require_whole(folder: Path) -> None:
    """Whatever is registered, pointed to or served is a bundle that opens and is the one it says."""
    promoter = promoter_of(folder)
    for alias in ("champion", "challenger"):
        version = promoter.tracker.version(alias)
        if version is not None:
            with tempfile.TemporaryDirectory() as place:
                promoter.fetch(version.number, Path(place))
    if (folder / "served").exists():
        open_bundle(folder / "served")


def versions(folder: Path) -> list[str]:
    """Numbers of all registered versions."""
    return [version.version for version in tracker_of(folder)._client.search_model_versions(f"name = '{MODEL}'")]


def killed_at(step: str):
    """An observer that ends the process, as a power cut would."""

    def observe(seen: str) -> None:
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


if __name__ == "__main__":
    place = Path(sys.argv[2])
    retrain(job_of(Path(sys.argv[1]), place), tracker_of(place), observe=killed_at(sys.argv[3]))

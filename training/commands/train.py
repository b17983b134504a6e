"""``train``: one router from a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from router_runtime.opening import text_encoder
from router_runtime.registry_reader import load_registry
from training.baselines import BASELINES
from training.commands.evaluate import report_text
from training.commands.numbers import at_least
from training.commands.serving import add_registry
from training.learner import learner, learner_params
from training.outcome_models import LearnConfig
from training.progress import Progress
from training.sources import add_sources, read_source
from training.tracking import Tracker
from training.train import FAST_BASELINES, Trained, TrainSettings, train

HELP = "Learns a router from a table, measures it on held-out prompts, writes its bundle and registers it in MLflow."
EXAMPLES = """examples:
  python -m training train --table ../shared/data/mmlu_pro --out models/mine
  python -m training train --log logs --registry registry.yaml     # with the registry's encoder, where it names one
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_sources(parser)
    add_registry(parser)
    parser.add_argument("--out", type=Path, default=Path("models/latest"), metavar="DIR", help="folder of the bundle")
    parser.add_argument("--folds", type=at_least(2), default=5, help="folds of the split by group")
    parser.add_argument("--every-fold", action="store_true", help="hold out every fold in turn, not only one")
    parser.add_argument(
        "--baselines",
        choices=["fast", "all", "none"],
        default="fast",
        help=f"fitted beside it: fast = {', '.join(FAST_BASELINES)}; all = {', '.join(BASELINES)}",
    )
    parser.add_argument("--pool", choices=["auto", "core", "all"], default="auto", help="models to measure on")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--no-mlflow", action="store_true", help="write the bundle only")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Trains; gives the summary as JSON and as text."""
    progress = Progress(enabled=not args.quiet)
    baselines = {"fast": FAST_BASELINES, "all": tuple(BASELINES), "none": ()}[args.baselines]
    encoder = text_encoder(load_registry(args.registry))
    source = read_source(args, encoder)
    config = LearnConfig(seed=args.seed)
    settings = TrainSettings(
        learn=learner(config, progress),
        seed=args.seed,
        folds=args.folds,
        every_fold=args.every_fold,
        baselines=baselines,
        pool=args.pool,
        params=learner_params(config),
        note=source.note,
        encoder=encoder,
    )
    tracker = None if args.no_mlflow else Tracker()
    done = train(
        source.table,
        args.out,
        settings,
        tracker=tracker,
        features=source.features,
        counts=source.counts,
        progress=progress,
    )
    return summary(done), summary_text(done)


def summary(done: Trained) -> dict[str, Any]:
    """What was made, JSON-ready."""
    registered = done.registered
    return {
        "bundle": str(done.bundle.path),
        "bundle_version": done.bundle.version,
        "counts": done.counts,
        "parity": done.parity,
        "report": done.report,
        "mlflow": None
        if registered is None
        else {
            "run_id": registered.run_id,
            "version": registered.version,
            "alias": registered.alias,
            "tracking_uri": registered.tracking_uri,
        },
    }


def summary_text(done: Trained) -> str:
    """The same for people."""
    lines = [", ".join(f"{name.replace('_', ' ')} {value}" for name, value in done.counts.items())]
    if done.report is not None and "best_single" in done.report:
        lines += ["", report_text(done.report), f"held out: {done.report['held_out']}"]
    elif done.report is not None:
        lines.append(f"calibration: ECE {done.report['calibration']['ece_mean']:.3f} ({done.report['held_out']})")
    lines += ["", f"bundle {done.bundle.version} in {done.bundle.path}"]
    if done.registered is not None:
        lines.append(f"MLflow: version {done.registered.version}, alias {done.registered.alias}")
    return "\n".join(lines)

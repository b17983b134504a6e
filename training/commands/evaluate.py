"""``evaluate``: a bundle on a table, through the runtime's own features and scorer."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from router_runtime.bundle import Bundle
from router_runtime.errors import ConfigError, DataError
from router_runtime.opening import open_for
from router_runtime.policy import override
from router_runtime.policy_settings import STRATEGIES, PolicySettings
from router_runtime.registry_reader import load_registry
from training.baselines import BASELINES, Prompts
from training.commands.numbers import at_least
from training.commands.serving import add_registry
from training.compare import unknown_models
from training.dataset import load_table
from training.evaluate import evaluate_predictions
from training.evaluate_agents import agents_text, evaluate_agents
from training.evaluate_log import evaluate_bundle
from training.evaluate_log import report_text as log_text
from training.feature_matrix import featurise
from training.fingerprints import trained_on
from training.held_out import HeldOut, held_out
from training.log_table import load_log
from training.model_card import METRICS, RIVALS, figure, shares_of, value_at
from training.ope.learnt_rewards import learnt_quality
from training.progress import Progress
from training.race import REPLICATES
from training.served import predict_table, served_bundle
from training.store_window import local_log
from training.sweep import Predicted

HELP = """Measures a bundle: on a full-information table, beside baselines, with bootstrap intervals; or on a log, by
off-policy evaluation. With --agents: which agents should have had a log's tasks, at what quality and cost. A log that
cannot support the claim is refused (exit code 1), with what it would need."""
EXAMPLES = """examples:
  python -m training evaluate --bundle models/mine --table heldout --json
  python -m training evaluate --bundle models/mine --table heldout --train-table train   # kNN and others beside it
  python -m training evaluate --bundle models/mine --log logs --trade-off 0.6 --json     # what it would have earned
  python -m training evaluate --log logs --agents --dispatch 'code=coder,*=tutor'        # always one agent, or a rule
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="folder of the bundle")
    parser.add_argument("--agents", action="store_true", help="with a log: judge the dispatch of tasks to agents")
    parser.add_argument(
        "--dispatch",
        action="append",
        default=[],
        metavar="LABEL=AGENT,…",
        help="with --agents: a rule to judge; * = every other label; may be repeated",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, metavar="DIR", help="folder of prompts, outcomes, models")
    source.add_argument("--log", type=Path, metavar="DIR", help="folder of a router's log: off-policy, or a refusal")
    source.add_argument("--store", metavar="URL", help="that log by URL: dir:///…, postgresql://… or clickhouse://…")
    parser.add_argument("--train-table", type=Path, metavar="DIR", help="fit the baselines on this table")
    add_registry(parser)
    parser.add_argument("--pool", choices=["auto", "core", "all"], default="auto", help="models to choose from")
    parser.add_argument("--replicates", type=at_least(1), default=REPLICATES, help="bootstrap replicates")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--strategy", choices=STRATEGIES, help="with --log: how the evaluated policy chooses")
    parser.add_argument("--trade-off", type=float, help="with --log: weight of quality against cost, 0..1")
    parser.add_argument("--quality-target", type=float, help="with --log: for cost-first, 0..1")
    parser.add_argument("--answer-value", type=float, metavar="USD", help="with --log: what a good answer is worth")
    parser.add_argument(
        "--reward-model",
        choices=["ridge", "learner"],
        default="ridge",
        help="with --log: a ridge (seconds), or the router's own learner fitted five times (minutes)",
    )


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Evaluates; gives the report and its text."""
    progress = Progress(enabled=not args.quiet)
    if args.agents:
        return run_agents(args, progress)
    if args.bundle is None or args.dispatch:
        raise ConfigError("evaluate needs --bundle DIR, or --agents with a log; --dispatch is for --agents alone")
    bundle = open_for(load_registry(args.registry), args.bundle)
    if args.table is None:
        return run_on_log(bundle, args, progress)
    held = held_out(load_table(args.table), args.pool)
    features = featurise(held.texts, progress, bundle.encoder)
    progress.say("predicting")
    ours = predict_table(served_bundle(bundle), held.table, features)
    others = {} if args.train_table is None else fitted_baselines(args.train_table, held, args.seed, progress)
    progress.say(f"measuring on {len(held.texts)} prompts, {args.replicates} bootstrap replicates")
    report = evaluate_predictions(held, ours, others, replicates=args.replicates, seed=args.seed)
    report |= origin(bundle, held)
    return report, report_text(report)


def run_on_log(bundle: Bundle, args: argparse.Namespace, progress: Progress) -> tuple[dict[str, Any], str]:
    """Evaluates off-policy; gives the report and its text."""
    settings = override(
        PolicySettings(),
        strategy=args.strategy,
        trade_off=args.trade_off,
        quality_target=args.quality_target,
        answer_value_usd=args.answer_value,
    )
    progress.say("reading the log")
    with local_log(args.store if args.log is None else args.log) as folder:
        log = load_log(folder, encoder=bundle.encoder)
    progress.say(f"evaluating on {len(log.decisions)} decisions")
    learnt = partial(learnt_quality, log, progress=progress) if args.reward_model == "learner" else None
    report = evaluate_bundle(bundle, log, settings, quality_model=learnt, seed=args.seed)
    return report, log_text(report)


def run_agents(args: argparse.Namespace, progress: Progress) -> tuple[dict[str, Any], str]:
    """Judges the dispatch of tasks to agents; gives the report and its text."""
    if args.table is not None or args.bundle is not None:
        raise ConfigError("--agents judges a log: give --log or --store, and neither --table nor --bundle")
    progress.say("reading the log")
    with local_log(args.store if args.log is None else args.log) as folder:
        log = load_log(folder, with_requests=False)
    report = evaluate_agents(log, args.dispatch, seed=args.seed)
    return report, agents_text(report)


def origin(bundle: Bundle, held: HeldOut) -> dict[str, Any]:
    """Which bundle it was, which models it did not know, and whether it was trained on this very table."""
    return {
        "bundle_version": bundle.version,
        "unknown_models": unknown_models(bundle, held),
        "trained_on_this_table": trained_on(bundle, held.source),
    }


def fitted_baselines(folder: Path, held: HeldOut, seed: int, progress: Progress) -> dict[str, Predicted]:
    """The baselines, fitted on another table's prompts for the models of the held-out one."""
    models = list(held.truth.models)
    table = load_table(folder)
    keep = table.models["model"].isin(models)
    train = held_out(type(table)(table.prompts, table.outcomes, table.models[keep], table.name), "all")
    lacking = [name for name in models if name not in train.truth.models]
    if lacking:
        raise DataError(f"{folder} has no complete outcomes of {lacking[0]}, so no baseline can be fitted on it")
    order = [train.truth.models.index(name) for name in models]
    truth = type(train.truth)(
        train.truth.quality[:, order], train.truth.cost[:, order], train.truth.groups, train.truth.tasks, tuple(models)
    )
    prompts = Prompts(held.texts, held.truth.tasks)
    found = {}
    for name, fit in BASELINES.items():
        progress.say(f"fitting baseline {name}")
        found[name] = fit(train.texts, truth, seed=seed).predict(prompts)
    return found


def report_text(report: dict[str, Any]) -> str:
    """The report for people."""
    counts, calibration = report["counts"], report["calibration"]
    lines = [
        f"{report['table']}: {counts['prompts_used']} prompts, {counts['models_used']} models; best single model "
        f"{report['best_single']} (quality {report['best_single_quality']:.3f})",
        "",
        f"{'router':18}" + "".join(f"{label[:14]:>24}" for label in SHORT.values()),
    ]
    rows = {"ours": report, **{name: report["baselines"][name] for name in RIVALS if name in report["baselines"]}}
    for name, row in rows.items():
        lines.append(f"{name:18}" + "".join(f"{figure(row, metric):>24}" for metric in SHORT))
    lines += ["", f"calibration: ECE {calibration['ece_mean']:.3f} on average, {calibration['ece_max']:.3f} at worst"]
    if not report["best_single_cost_usd"] > 0:
        lines.append(f"note: {shares_of(report)}")
    if report.get("trained_on_this_table"):
        lines.append("note: the bundle was trained on this table, so its figures are flattering")
    if report.get("unknown_models"):
        lines.append(f"models that the bundle does not know: {', '.join(report['unknown_models'])}")
    return "\n".join(lines)


SHORT = {
    "aiq": "AIQ",
    "cost_at_quality.95": "cost at 95 %",
    "cost_at_quality.99": "cost at 99 %",
    "cost_at_quality.100": "cost at 100 %",
    "perf_gain": "PerfGain",
}
assert set(SHORT) <= set(METRICS)


def metric(report: dict[str, Any], name: str) -> float | None:
    """A metric of a report, None where it is not reached."""
    value = value_at(report, name)
    return None if value is None else float(value)

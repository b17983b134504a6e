"""``pointsman experiments``, ``pointsman feedback`` and ``pointsman seal``: what is done with the outcome log."""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from router_runtime.calling import feedback_event
from router_runtime.cli import render
from router_runtime.cli.values import duration
from router_runtime.errors import ConfigError
from router_runtime.experiments import Estimate
from router_runtime.exposure import Findings, findings
from router_runtime.outcome_log import open_log
from router_runtime.overrides import default_state_dir
from router_runtime.records import FeedbackSource, to_dict
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry
from router_runtime.registry_yaml import did_you_mean
from router_runtime.stores.opening import local_folder
from router_runtime.stores.reading import read_events
from router_runtime.stores.seal import forget, seal


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""
    shown = _add(subparsers, "experiments", "what running experiments show", experiments, "--log logs/ --since 14d")
    shown.add_argument("name", nargs="?", metavar="NAME", help="an experiment of the registry (default: all)")
    shown.add_argument("--registry", default=str(DEFAULT_REGISTRY), metavar="FILE", help="registry.yaml")
    shown.add_argument("--since", type=duration, metavar="TIME", help="only what is younger, such as 14d")
    shown.add_argument("--metric", metavar="NAME", help="of the feedback (default: the one that most calls have)")
    told = _add(subparsers, "feedback", "log how good an answer was", feedback, "0197f0… --score 0.9 --log logs/")
    told.add_argument("decision_id", metavar="ID", help="of the decision")
    told.add_argument("--score", type=float, required=True, metavar="X", help="0 (bad) .. 1 (good)")
    told.add_argument("--metric", default="score", metavar="NAME", help="name of the signal (default score)")
    told.add_argument("--source", choices=get_args(FeedbackSource), default="user", help="who says so (default user)")
    sealed = _add(subparsers, "seal", "make Parquet of the log's closed spools", seal_log, "--log logs/ --keep 90d")
    sealed.add_argument("--keep", type=duration, metavar="TIME", help="delete days that are older, such as 90d")


def _add(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, words: str, run: Any, example: str
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name,
        help=words,
        description=words[0].upper() + words[1:] + ".",
        epilog=f"example:\n  pointsman {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--log", required=True, metavar="STORE", help="folder or URL of the outcome log")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.set_defaults(run=run)
    return parser


def experiments(arguments: argparse.Namespace) -> int:
    """``pointsman experiments``."""
    known = load_registry(arguments.registry).experiments
    if arguments.name is not None and arguments.name not in known:
        raise ConfigError(f"no experiment {arguments.name!r} in the registry{did_you_mean(arguments.name, known)}")
    since = 0.0 if arguments.since is None else time.time() - arguments.since
    names = list(known) if arguments.name is None else [arguments.name]
    found = [findings(known[name], lambda: read_events(arguments.log, since), arguments.metric) for name in names]
    words = "\n\n".join(_words(one) for one in found) or "the registry has no experiment"
    render.show(arguments.json, {"experiments": [_document(one) for one in found]}, words)
    return 0


def feedback(arguments: argparse.Namespace) -> int:
    """``pointsman feedback``."""
    event = feedback_event(
        arguments.decision_id, time.time(), arguments.score, source=arguments.source, metric=arguments.metric
    )
    _require_folder(arguments.log)
    log = open_log(arguments.log, default_state_dir() / "outbox")
    try:
        log.append(event)
    finally:
        log.close()
    words = f"feedback {event.value:g} for {event.decision_id} is logged"
    render.show(arguments.json, to_dict(event), words)
    return 0


def seal_log(arguments: argparse.Namespace) -> int:
    """``pointsman seal``."""
    folder = _require_folder(arguments.log)
    if folder is None:
        raise ConfigError("only a log in a folder is sealed; a remote store keeps its events itself")
    report = seal(folder)
    gone = [] if arguments.keep is None else forget(folder, time.time() - arguments.keep)
    failed = {path.name: reason for path, reason in report.failed.items()}
    document = {"rows": report.rows, "open_spools": report.open_spools, "failed": failed}
    document["deleted"] = [day.name.removeprefix("day=") for day in gone]
    files = [str(path.relative_to(folder)) for path in report.files]
    lines = [f"{report.rows} events in {len(files)} files; {report.open_spools} spools are still being written"]
    lines += [f"not sealed: {name}: {reason}" for name, reason in failed.items()]
    lines += [f"deleted: {day.name}" for day in gone]
    render.show(arguments.json, {**document, "files": files}, "\n".join([*lines, *(f"  {name}" for name in files)]))
    return 1 if failed else 0


def _require_folder(log: str) -> Path | None:
    """The folder of a log that is there; None for a remote store.

    Raises:
        ConfigError: There is no such folder: a misspelt one must not become a log of its own.
    """
    folder = local_folder(log)
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name the one that --log of serve, or log= of Router.open, names")
    return folder


def _document(found: Findings) -> dict[str, Any]:
    document = {
        "name": found.experiment.name,
        "unit": found.experiment.unit,
        "metric": found.metric,
        "sample_ratio": asdict(found.ratio),
        "arms": [asdict(arm) for arm in found.arms],
    }
    return json.loads(json.dumps(document), parse_constant=lambda _name: None)  # type: ignore[no-any-return]  # NaN → null


def _words(found: Findings) -> str:
    unit = f"{found.experiment.unit}s"
    exposed = [
        (arm.name, f"{arm.subjects}", f"{found.ratio.expected[arm.name]:.0f}", f"{arm.calls}", f"{arm.rated}")
        for arm in found.arms
    ]
    shown = [
        (
            *(arm.name, _interval(arm.feedback, 3), _interval(arm.feedback_change, 3)),
            *(_interval(arm.cost_usd, 6), _interval(arm.cost_change, 6)),
        )
        for arm in found.arms
    ]
    split = f"split: p = {found.ratio.p_value:.4f}"
    if found.ratio.alarm:
        split += "; BROKEN: the arms did not get their shares, believe none of the comparisons"
    title = f"{found.experiment.name}, feedback {found.metric or 'none'}; changes are against {found.arms[0].name}"
    parts = (
        render.table([("arm", unit, "expected", "calls", "rated"), *exposed], {1, 2, 3, 4}),
        render.table([("arm", "feedback", "change", "USD a call", "change"), *shown], {1, 2, 3, 4}),
    )
    return "\n".join([title, split, "", *parts[0], "", *parts[1]])


def _interval(estimate: Estimate | None, digits: int) -> str:
    if estimate is None:
        return "-"
    if math.isnan(estimate.low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} ±{(estimate.high - estimate.low) / 2:.{digits}f}"

"""Two router versions side by side on the same prompts, with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from router_runtime.bundle import Bundle
from training import plots
from training.feature_matrix import featurise
from training.fingerprints import trained_on
from training.held_out import HeldOut
from training.model_card import LOWER_IS_BETTER, METRICS, figure, value_at
from training.progress import QUIET, Progress
from training.race import REPLICATES, Race, Values, as_json, differences, estimates, plain_runners, runner
from training.reliability import calibration_report
from training.served import predict_table, served_bundle
from training.sweep import Field, Predicted

_ECE = "calibration error (mean ECE)"
# Costs and regret differ in units of their own; these are all shares or qualities and fit one axis.
DRAWN = ("aiq", "perf_gain", "gap_oracle", "cost_at_quality.95", "cost_at_quality.99", "cost_at_quality.100", "apgr")


@dataclass(frozen=True)
class Version:
    """One of the two.

    Args:
        name: What the caller called it: a version, an alias or a folder.
        bundle: Its bundle, with its encoder where it was trained with one, which is then the other one's too.
    """

    name: str
    bundle: Bundle


def compare(
    a: Version, b: Version, held: HeldOut, *, replicates: int = REPLICATES, seed: int = 0, progress: Progress = QUIET
) -> dict[str, Any]:
    """The report of both and the paired differences b − a.

    Args:
        a: The one that is compared with.
        b: The other one.
        held: Prompts that neither should have been trained on; where one was, the report says so.
        replicates: Bootstrap replicates, drawn by group.
        seed: Seed of the draws.
        progress: Says what is being done.
    """
    field = Field(held.truth)
    race = Race(field, replicates=replicates, seed=seed)
    features = featurise(held.texts, progress, a.bundle.encoder or b.bundle.encoder)
    sides: dict[str, Any] = {}
    values: dict[str, Values] = {}
    for key, version in (("a", a), ("b", b)):
        progress.say(f"predicting with {version.name}")
        predicted = predict_table(served_bundle(version.bundle), held.table, features)
        values[key] = race.run(runner(field, predicted))
        sides[key] = _side(version, held, predicted, values[key])
    return {
        "table": held.table.name,
        **sides,
        "zero": as_json(estimates(race.run(plain_runners(field)["zero"]))),
        "difference": as_json(differences(values["b"], values["a"])),
        "counts": held.counts,
        "bootstrap": {"replicates": replicates, "seed": seed, "unit": "group", "level": 0.95},
    }


def _side(version: Version, held: HeldOut, predicted: Predicted, values: Values) -> dict[str, Any]:
    return {
        "name": version.name,
        "bundle_version": version.bundle.version,
        "trained_on_this_table": trained_on(version.bundle, held.source),
        "unknown_models": unknown_models(version.bundle, held),
        **as_json(estimates(values)),
        "calibration": calibration_report(held.truth, predicted),
    }


def unknown_models(bundle: Bundle, held: HeldOut) -> list[str]:
    """The models of the table that the bundle did not learn from, whose quality it can only guess."""
    known = {model.name for model in bundle.manifest.models}
    return [name for name in held.truth.models if name not in known]


def comparison_text(report: dict[str, Any]) -> str:
    """The two side by side, one metric a line."""
    a, b = report["a"], report["b"]
    width = 2 + max(map(len, (*METRICS.values(), _ECE)))
    lines = [f"{'':{width}}{a['name'][-24:]:>26}{b['name'][-24:]:>26}{'difference':>28}"]
    for metric, label in METRICS.items():
        if value_at(a, metric) is None and value_at(b, metric) is None:
            continue
        cells = [figure(a, metric), figure(b, metric), figure(report["difference"], metric)]
        lines.append(f"{label:{width}}{cells[0]:>26}{cells[1]:>26}{cells[2]:>28}")
    ece = [f"{side['calibration']['ece_mean']:.3f}" for side in (a, b)]
    lines.append(f"{_ECE:{width}}{ece[0]:>26}{ece[1]:>26}")
    lines += [
        f"note: {side['name']} was trained on this table, so its figures are flattering"
        for side in (a, b)
        if side["trained_on_this_table"]
    ]
    lines += [
        f"note: {side['name']} does not know {', '.join(side['unknown_models'])}: it goes by priors there"
        for side in (a, b)
        if side["unknown_models"]
    ]
    return "\n".join(lines)


def comparison_figure(report: dict[str, Any]) -> bytes:
    """The differences with their intervals, as a PNG."""
    rows = []
    for metric in DRAWN:
        value = value_at(report["difference"], metric)
        low, high = value_at(report["difference"], f"intervals.{metric}") or (None, None)
        if value is not None and low is not None and high is not None:
            less = " (less is better)" if metric.startswith(LOWER_IS_BETTER) else ""
            rows.append((METRICS[metric] + less, (value, low, high)))
    title = f"{report['b']['name'][-30:]} − {report['a']['name'][-30:]} on {report['table']}"
    return plots.differences(title, [name for name, _ in rows], [limits for _, limits in rows])


def flat_difference(report: dict[str, Any]) -> dict[str, float]:
    """The finite differences by metric, for MLflow."""
    found = {f"difference.{m}": value_at(report["difference"], m) for m in METRICS}
    return {name: float(value) for name, value in found.items() if value is not None}

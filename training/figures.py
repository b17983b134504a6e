"""The figures of one report, as PNG bytes by file name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training import plots
from training.evaluate import single_models, task_matrix
from training.held_out import HeldOut
from training.race import plain_runners
from training.reliability import bins
from training.sweep import Field, Floats, Predicted, sweep_choices


def report_figures(held: HeldOut, ours: Predicted, others: Mapping[str, Predicted]) -> dict[str, bytes]:
    """Cost–quality frontier, reliability diagram, and heat maps of true and of chosen quality per task.

    Args:
        held: The held-out prompts.
        ours: The router's predictions for them.
        others: The fitted baselines' predictions by name.
    """
    name = held.table.name
    return {
        "frontier.png": _frontier(f"{name}: cost and quality on held-out prompts", held, ours, others),
        "reliability.png": _reliability(f"{name}: reliability", held, ours),
        "quality_by_task.png": _by_task(f"{name}: mean quality by task", held, held.truth.quality),
        "share_by_task.png": _by_task(f"{name}: share of calls, 99 % of the best quality", held, _shares(held, ours)),
    }


def _frontier(title: str, held: HeldOut, ours: Predicted, others: Mapping[str, Predicted]) -> bytes:
    field = Field(held.truth)
    ones = field.ones()
    runs = {"ours": field.points(sweep_choices(ours))}
    runs |= {name: field.points(sweep_choices(predicted)) for name, predicted in others.items()}
    runs |= {name: runner.points for name, runner in plain_runners(field).items() if name != "random_mix"}
    curves = {}
    for name, points in runs.items():
        cost, quality = points.means(ones, field.sizes)
        curves[name] = (cost[0], quality[0])
    singles = {m: (entry["cost_usd"], entry["quality"]) for m, entry in single_models(held.truth).items()}
    return plots.frontier(title, curves, singles)


def _reliability(title: str, held: HeldOut, ours: Predicted) -> bytes:
    order = np.argsort(-held.truth.quality.mean(axis=0))[:10]
    curves = {held.truth.models[m]: bins(ours.quality[:, m], held.truth.quality[:, m], 10) for m in order}
    return plots.reliability(title, curves)


def _by_task(title: str, held: HeldOut, values: Floats) -> bytes:
    tasks, matrix = task_matrix(held.truth, values)
    order = np.argsort(held.truth.cost.mean(axis=0), kind="stable")[:20]
    return plots.heat_map(title, tasks, [held.truth.models[m] for m in order], matrix[:, order])


def _shares(held: HeldOut, ours: Predicted) -> Floats:
    """1 where the model is chosen [n, M], at the cheapest setting that keeps 99 % of the best single quality."""
    truth = held.truth
    choices = sweep_choices(ours)
    rows = np.arange(len(truth.quality))
    quality = np.array([truth.quality[rows, chosen].mean() for chosen in choices])
    cost = np.array([truth.cost[rows, chosen].mean() for chosen in choices])
    enough = quality >= 0.99 * truth.quality[:, truth.best].mean()
    setting = int(np.where(enough, cost, np.inf).argmin()) if enough.any() else int(quality.argmax())
    shares: Floats = np.eye(len(truth.models))[choices[setting]]
    return shares

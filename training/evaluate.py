"""Routers on held-out prompts → one report: metrics, intervals, calibration, baselines, paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.held_out import HeldOut
from training.metrics import Reference
from training.race import (
    REPLICATES,
    Race,
    Values,
    as_json,
    differences,
    estimates,
    plain_runners,
    runner,
    single_runners,
    trade_off_price,
)
from training.reliability import calibration_report
from training.sweep import REGRET_TRADE_OFF, Field, Floats, Predicted, Truth

NOT_BEATABLE = ("oracle",)


def evaluate_predictions(
    held: HeldOut,
    ours: Predicted,
    others: Mapping[str, Predicted] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of one router on held-out prompts.

    Args:
        held: The prompts and what every model did with them.
        ours: The router's predictions for the same prompts and models.
        others: Predictions of fitted baselines by name.
        replicates: Bootstrap replicates, drawn by group.
        seed: Seed of the draws.

    Returns:
        JSON-ready: ``aiq``, ``perf_gain``, ``cost_save``, ``gap_oracle``, ``cost_at_quality``, ``apgr``, ``cpt50``,
        ``cpt80``, ``regret``, ``intervals``, ``calibration``, ``baselines`` (the same metrics by name), ``differences``
        (ours − baseline, with interval), ``single_models``, ``best_single``, ``counts``; null = not reached.
    """
    field = Field(held.truth)
    race = Race(field, replicates=replicates, seed=seed)
    our_values = race.run(runner(field, ours))
    runners = plain_runners(field) | single_runners(field)
    runners |= {name: runner(field, predicted) for name, predicted in (others or {}).items()}
    values = {name: race.run(one) for name, one in runners.items()}
    return {
        "table": held.table.name,
        **as_json(estimates(our_values)),
        "calibration": calibration_report(held.truth, ours),
        "baselines": {name: as_json(estimates(found)) for name, found in values.items()},
        "differences": _differences(our_values, values),
        "single_models": single_models(held.truth),
        **_setting(held, field.references(field.ones())[0], replicates, seed),
    }


def _differences(ours: Values, values: Mapping[str, Values]) -> dict[str, Any]:
    beatable = {name: found for name, found in values.items() if name not in NOT_BEATABLE}
    return {name: as_json(differences(ours, found)) for name, found in beatable.items()}


def single_models(truth: Truth) -> dict[str, dict[str, float]]:
    """Mean quality and mean cost of every model, dearest first."""
    cost, quality = truth.cost.mean(axis=0), truth.quality.mean(axis=0)
    return {
        truth.models[m]: {"quality": round(float(quality[m]), 6), "cost_usd": float(cost[m])}
        for m in np.argsort(-cost, kind="stable")
    }


def _setting(held: HeldOut, ref: Reference, replicates: int, seed: int) -> dict[str, Any]:
    truth = held.truth
    return {
        "best_single": truth.models[truth.best],
        "cheapest_single": truth.models[truth.cheapest],
        "best_single_quality": round(ref.best_quality, 6),
        "best_single_cost_usd": ref.best_cost,
        "oracle_quality": round(ref.oracle_quality, 6),
        "regret_trade_off": None
        if trade_off_price(truth) is None
        else f"{REGRET_TRADE_OFF} of quality for one call of {truth.models[truth.best]}",
        "counts": {**held.counts, "groups": len(np.unique(truth.groups))},
        "bootstrap": {"replicates": replicates, "seed": seed, "unit": "group", "level": 0.95},
    }


def task_families(tasks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The part of each task label before its first slash: ``mmlu/law`` → ``mmlu``."""
    return np.array([str(task).partition("/")[0] for task in tasks])


def pair_by_family(
    truth: Truth, predicted: Mapping[str, Predicted], *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """APGR, CPT50 and CPT80 within each family of tasks that has at least 200 prompts, by router."""
    families = task_families(truth.tasks)
    out: dict[str, dict[str, Any]] = {}
    for family in np.unique(families):
        rows = families == family
        if rows.sum() < 200 or rows.all():
            continue
        part = truth.take(rows)
        race = Race(Field(part), replicates=replicates, seed=seed)
        out[str(family)] = {
            name: as_json({k: e for k, e in estimates(race.run(runner(race.field, p.take(rows)))).items() if k in PAIR})
            for name, p in predicted.items()
        }
    return out


PAIR = ("apgr", "cpt50", "cpt80")


def task_matrix(truth: Truth, values: Floats) -> tuple[list[str], Floats]:
    """Means of ``values`` [n, M] by task: task names [T] and [T, M], the 30 largest tasks."""
    names, codes, counts = np.unique(truth.tasks, return_inverse=True, return_counts=True)
    largest = np.sort(np.argsort(-counts, kind="stable")[:30])
    return [str(names[t]) for t in largest], np.stack([values[codes == t].mean(axis=0) for t in largest])

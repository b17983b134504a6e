"""Routing quality from (cost, quality) points: every formula once, each with its source.

A *point* is the mean cost and the mean quality of one setting of one router on the same prompts. A router is its
points as its trade-off sweeps; two neighbouring settings can be mixed at random, so what it offers between them is the
straight line, and what it offers in all is the hull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
QUALITY_TARGETS = {"95": 0.95, "99": 0.99, "100": 1.0}


@dataclass(frozen=True)
class Reference:
    """What routers of one set of prompts are measured against.

    Args:
        best_cost: Mean cost of the best single model (highest mean quality; the cheaper one of a tie), USD.
        best_quality: Its mean quality, 0..1.
        low_cost: Mean cost of the cheapest single model, USD; the lower end of the shared cost range.
        low_quality: Its mean quality.
        high_cost: Mean cost of the dearest single model, USD; the upper end of the shared cost range.
        oracle_quality: Mean over prompts of the best quality that any model reached.
    """

    best_cost: float
    best_quality: float
    low_cost: float
    low_quality: float
    high_cost: float
    oracle_quality: float


def hull(cost: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """Vertices of the non-decreasing upper convex hull of points, by rising cost.

    The hull ends at the point of highest quality: paying more for less is never chosen, so beyond it the value stays.

    Args:
        cost: [K] mean costs.
        quality: [K] mean qualities.

    Returns:
        Costs [H] and qualities [H], both strictly rising (H ≥ 1).
    """
    order = np.lexsort((-quality, cost))
    xs: list[float] = []
    ys: list[float] = []
    for x, y in zip(cost[order].tolist(), quality[order].tolist(), strict=True):
        if ys and y <= ys[-1]:
            continue  # as dear or dearer, and no better
        while len(xs) > 1 and (ys[-1] - ys[-2]) * (x - xs[-2]) <= (y - ys[-2]) * (xs[-1] - xs[-2]):
            xs.pop()
            ys.pop()
        xs.append(x)
        ys.append(y)
    return np.array(xs), np.array(ys)


def aiq(cost: Floats, quality: Floats, ref: Reference) -> float:
    """AIQ = 1/(c_max − c_min) · ∫ R̃(c) dc, R̃ the non-decreasing convex hull (RouterBench, arXiv:2403.12031, §4).

    The range is that of the single models' mean costs, shared by all routers. Every router may also always call the
    cheapest model, so that R̃ is defined from c_min on.

    Args:
        cost: [K] mean costs of the router's settings, USD.
        quality: [K] their mean qualities.
        ref: The shared range.

    Returns:
        A mean quality, 0..1; where all models cost the same, the best quality.
    """
    return _hull_aiq(*_offered(cost, quality, ref), ref)


def _offered(cost: Floats, quality: Floats, ref: Reference) -> tuple[Floats, Floats]:
    """The hull of a router that may also always call the cheapest model."""
    return hull(np.append(cost, ref.low_cost), np.append(quality, ref.low_quality))


def _hull_aiq(xs: Floats, ys: Floats, ref: Reference) -> float:
    if ref.high_cost <= ref.low_cost:
        return float(ys[-1])
    inside = xs[(xs > ref.low_cost) & (xs < ref.high_cost)]
    grid = np.concatenate(([ref.low_cost], inside, [ref.high_cost]))
    return float(_area(np.interp(grid, xs, ys), grid)) / (ref.high_cost - ref.low_cost)


def _area(ys: Floats, xs: Floats) -> Floats:
    """Trapezoidal ∫ y dx over the last axis (NumPy's own changed its name between the versions that we allow)."""
    area: Floats = ((ys[..., 1:] + ys[..., :-1]) * np.diff(xs)).sum(axis=-1) / 2.0
    return area


def cost_at_quality(cost: Floats, quality: Floats, ref: Reference, target: float) -> float:
    """The least cost, as a share of the best single model's, at which ``target`` of its quality is reached.

    Args:
        cost: [K] mean costs of the router's settings, USD.
        quality: [K] their mean qualities.
        ref: Holds the best single model.
        target: Share of the best single model's quality, e.g. 0.95.

    Returns:
        A share ≥ 0 on the router's hull; NaN where the quality is not reached at all, or the best model is free.
    """
    return _hull_cost(*_offered(cost, quality, ref), ref, target)


def _hull_cost(xs: Floats, ys: Floats, ref: Reference, target: float) -> float:
    wanted = target * ref.best_quality
    if ys[-1] < wanted - 1e-12:
        return float("nan")
    return _share(float(np.interp(min(wanted, ys[-1]), ys, xs)), ref.best_cost)


def _share(part: float, whole: float) -> float:
    """The quotient; NaN where there is no whole: a best model that is free, or qualities that are all 0."""
    return part / whole if whole else float("nan")


def cost_save(cost: Floats, quality: Floats, ref: Reference) -> float:
    """CostSave = max(1 − Cost/Cost_best) over settings with quality ≥ the best single model's (LLMRouterBench).

    Returns:
        At most 1; NaN where no setting reaches that quality, or the best model is free.
    """
    good = quality >= ref.best_quality - 1e-12
    return 1.0 - _share(float(cost[good].min()), ref.best_cost) if good.any() else float("nan")


def perf_gain(quality: Floats, ref: Reference) -> float:
    """PerfGain = max over settings of quality/quality_best − 1 (LLMRouterBench); NaN where all models score 0."""
    return _share(float(quality.max()), ref.best_quality) - 1.0


def gap_oracle(quality: Floats, ref: Reference) -> float:
    """Gap@Oracle = 1 − quality/quality_oracle at the router's best setting (LLMRouterBench); NaN as above."""
    return 1.0 - _share(float(quality.max()), ref.oracle_quality)


def frontier_metrics(cost: Floats, quality: Floats, ref: Reference) -> dict[str, float]:
    """All metrics that depend on a router's points alone.

    Args:
        cost: [K] mean costs, USD.
        quality: [K] mean qualities, 0..1.
        ref: What they are measured against.

    Returns:
        ``aiq``, ``perf_gain``, ``cost_save``, ``gap_oracle`` and ``cost_at_quality.95|99|100``; NaN = not reached.
    """
    xs, ys = _offered(cost, quality, ref)
    values = {
        "aiq": _hull_aiq(xs, ys, ref),
        "perf_gain": perf_gain(quality, ref),
        "cost_save": cost_save(cost, quality, ref),
        "gap_oracle": gap_oracle(quality, ref),
    }
    for name, target in QUALITY_TARGETS.items():
        values[f"cost_at_quality.{name}"] = _hull_cost(xs, ys, ref, target)
    return values


def pair_metrics(gain: Floats, preference: Floats, weights: Floats) -> dict[str, Floats]:
    """APGR, CPT50 and CPT80 of a strong–weak pair (RouteLLM, arXiv:2406.18665, §3.2), for many weightings at once.

    Prompts go to the strong model in order of ``preference``. With a share s of strong calls,
    PGR(s) = (r(R) − r(weak)) / (r(strong) − r(weak)); APGR = ∫₀¹ PGR(s) ds; CPT(x) = the smallest s with PGR ≥ x.
    Equal preferences are taken in random order (expected value: the straight line across the tie).

    Args:
        gain: [n] quality of the strong model − quality of the weak one.
        preference: [n] the router's preference for the strong model; higher goes first.
        weights: [B, n] weight of each prompt in each replicate (one row of ones for the plain value).

    Returns:
        ``apgr``, ``cpt50``, ``cpt80``, each [B]; NaN where the strong model is not better or the share not reached.
    """
    order = np.argsort(-preference, kind="stable")
    _, starts = np.unique(-preference[order], return_index=True)
    ordered = weights[:, order]
    share = np.add.reduceat(ordered, starts, axis=1).cumsum(axis=1)
    gained = np.add.reduceat(ordered * gain[order], starts, axis=1).cumsum(axis=1)
    total = gained[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        pgr = np.where(total > 0, gained / total, np.nan)
    zero = np.zeros((len(weights), 1))
    share = np.hstack((zero, share / share[:, -1:]))
    pgr = np.hstack((zero, pgr))
    return {
        "apgr": _area(pgr, share),
        "cpt50": _first_share(share, pgr, 0.5),
        "cpt80": _first_share(share, pgr, 0.8),
    }


def _first_share(share: Floats, pgr: Floats, level: float) -> Floats:
    """Smallest share [B] at which ``pgr`` [B, T] reaches ``level``, on the lines between its points."""
    reached = pgr >= level - 1e-12
    rows = np.arange(len(pgr))
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rise = pgr[rows, after] - pgr[rows, before]
    part = np.where(rise > 0, (level - pgr[rows, before]) / np.where(rise > 0, rise, 1.0), 0.0)
    value = share[rows, before] + part * (share[rows, after] - share[rows, before])
    return np.where(reached.any(axis=1), value, np.nan)


def regret(quality: Floats, cost: Floats, chosen: npt.NDArray[np.intp], price_of_quality: float) -> Floats:
    """Oracle utility − router utility per prompt, at utility = quality − price_of_quality · cost.

    Args:
        quality: [n, M] true qualities.
        cost: [n, M] true costs, USD.
        chosen: [n] the router's model.
        price_of_quality: Quality given up for one USD.

    Returns:
        [n], ≥ 0.
    """
    utility = quality - price_of_quality * cost
    best: Floats = utility.max(axis=1)
    return best - utility[np.arange(len(utility)), chosen]

"""MODEL_CARD.md: what a router was trained on, how well it did on unseen prompts, and where it did badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

METRICS = {
    "aiq": "AIQ",
    "cost_at_quality.95": "cost at 95 % of the best single model's quality",
    "cost_at_quality.99": "cost at 99 %",
    "cost_at_quality.100": "cost at 100 %",
    "perf_gain": "PerfGain",
    "cost_save": "CostSave",
    "gap_oracle": "Gap@Oracle",
    "apgr": "APGR",
    "cpt50": "CPT50",
    "cpt80": "CPT80",
    "regret": "regret",
}
RIVALS = ("zero", "random_mix", "knn", "kmeans", "tfidf_logistic", "task_table", "oracle")
LOWER_IS_BETTER = ("cost_at_quality", "gap_oracle", "cpt", "regret")


def value_at(report: Mapping[str, Any], path: str) -> Any:
    """The entry at a dotted path, None where there is none."""
    found: Any = report
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def figure(report: Mapping[str, Any], metric: str) -> str:
    """A metric with its interval, e.g. ``.712 (.704–.721)``; a dash where it is not reached."""
    value, limits = value_at(report, metric), value_at(report, f"intervals.{metric}")
    if value is None:
        return "–"
    if not limits or None in limits:
        return f"{value:z.3f}"
    return f"{value:z.3f} ({limits[0]:z.3f}–{limits[1]:z.3f})"


def metrics_table(report: Mapping[str, Any]) -> str:
    """Markdown: one row per router, ours first, with intervals."""
    names = [name for name in RIVALS if name in report["baselines"]]
    rows = {"**ours**": report, **{name: report["baselines"][name] for name in names}}
    metrics = [m for m in METRICS if any(value_at(row, m) is not None for row in rows.values())]
    lines = [_row(["router", *(METRICS[m] for m in metrics)]), _row(["---"] * (len(metrics) + 1))]
    lines += [_row([name, *(figure(row, m) for m in metrics)]) for name, row in rows.items()]
    return "\n".join(lines)


def losing_rows(report: Mapping[str, Any]) -> list[str]:
    """Where a baseline is better than the router beyond the interval, in words."""
    lines = []
    for name, difference in report["differences"].items():
        for metric, label in METRICS.items():
            value, limits = value_at(difference, metric), value_at(difference, f"intervals.{metric}")
            if value is None or not limits or None in limits:
                continue
            worse = limits[0] > 0 if metric.startswith(LOWER_IS_BETTER) else limits[1] < 0
            if worse:
                lines.append(f"{name} is better in {label}: {value:+.3f} ({limits[0]:+.3f} to {limits[1]:+.3f})")
    return lines


def shares_of(report: Mapping[str, Any]) -> str:
    """What costs are measured in, in a sentence."""
    if report["best_single_cost_usd"] > 0:
        return "Costs are shares of its cost."
    return "The best single model is free: no cost is a share of its cost, and routing saves nothing against it."


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def model_card(
    *,
    title: str,
    data: Sequence[Mapping[str, Any]],
    counts: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    how: str,
    fingerprints: Mapping[str, str],
    limits: Sequence[str] = (),
) -> str:
    """The whole card, in Markdown.

    Args:
        title: Name of the router.
        data: One mapping per table or log that it was trained on: ``name``, ``prompts``, ``models``, ``licence``.
        counts: Rows seen, used and dropped.
        report: Of :func:`training.evaluate.evaluate_predictions`, None where nothing was held out.
        how: How the figures were made, in one sentence; without a report, what is known from elsewhere.
        fingerprints: sha256 by what it is of.
        limits: What it must not be used for, or is known to do badly.
    """
    parts = [f"# {title}", "", "A Pointsman router: P(good answer) and output tokens per model, as one ONNX graph.", ""]
    parts += ["## Trained on", "", *(_data_line(entry) for entry in data), ""]
    parts += [f"- {name.replace('_', ' ')}: {value}" for name, value in counts.items()]
    parts += ["", "## Measured on prompts that it had not seen", ""]
    parts += [how, "", *_measured(report)] if report is not None else [NOTHING_HELD_OUT, *(["", how] if how else [])]
    parts += ["", "## Limits", "", *(f"- {line}" for line in (*limits, *STANDING_LIMITS))]
    parts += ["", "## Fingerprints", "", *(f"- {name}: `{value}`" for name, value in fingerprints.items()), ""]
    return "\n".join(parts)


NOTHING_HELD_OUT = "Nothing was held out, so nothing is claimed of this very router."
LOG_ONLY = "The log holds one answer per prompt, so only the calibration of the logged answers is measured."
STANDING_LIMITS = (
    "Prices are no part of the model: they enter when a decision is made.",
    "Texts unlike those above are ranked by what resembles them; feedback from your own traffic is worth more.",
    "A model that it never saw is judged by the prior and the strengths that the registry declares.",
)


def _data_line(entry: Mapping[str, Any]) -> str:
    licence = f"; {entry['licence']}" if entry.get("licence") else ""
    return f"- {entry['name']}: {entry['prompts']} prompts × {entry['models']} models{licence}"


def _measured(report: Mapping[str, Any]) -> list[str]:
    calibration = report["calibration"]
    return [
        *(_compared(report) if "best_single" in report else [LOG_ONLY, ""]),
        f"Calibration: ECE {calibration['ece_mean']:.3f} on average, {calibration['ece_max']:.3f} for the worst model, "
        f"about {calibration['labels_per_head']} labels each.",
    ]


def _compared(report: Mapping[str, Any]) -> list[str]:
    worst = losing_rows(report)
    return [
        f"Best single model: {report['best_single']} (quality {report['best_single_quality']:.3f}, "
        f"{report['best_single_cost_usd']:.6f} USD a request). {shares_of(report)} "
        "Intervals are 95 % paired bootstrap intervals over groups.",
        "",
        metrics_table(report),
        "",
        "### Where it loses",
        "",
        *([f"- {line}" for line in worst] or ["- No baseline was better beyond its interval."]),
        "",
    ]

"""The bars of routing quality, and whether a report meets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.model_card import value_at

AT_MOST = {
    "mmlu_pro": {"cost_at_quality.95": 0.04, "cost_at_quality.99": 0.12, "cost_at_quality.100": 0.18},
    "llmrouter": {"cost_at_quality.95": 0.12},
    "zeroeval": {"cost_at_quality.95": 0.27},
}
AT_LEAST = {"mmlu_pro": {"perf_gain": 0.032}, "routellm": {"apgr": 0.70}}
FAMILIES_AT_LEAST = {"routellm": {"mmlu": 0.69, "gsm8k": 0.65}}
RIVALS = ("knn", "kmeans", "tfidf_logistic", "task_table")
ECE_BAR = 0.03
ECE_LABELS = 1000


def bars(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each bar with its figure: ``what``, ``bar``, ``figure``, ``met``."""
    tables = report.get("tables", {})
    found: list[dict[str, Any]] = []
    for name, table in tables.items():
        found += _fixed(name, table) + _rivals(name, table)
    if tables:
        best = [name for name, table in tables.items() if _beats_all(table)]
        found.append(
            _bar(
                "above all rivals, interval excluding 0",
                "≥ half of the tables",
                ", ".join(best) or "none",
                2 * len(best) >= len(tables),
            )
        )
    for kind, entries in report.get("day_one", {}).items():
        good = [name for name, entry in entries.items() if entry["difference"]["intervals"]["aiq"][0] > 0]
        found.append(
            _bar(
                f"day one, {kind.replace('_', ' ')}: AIQ above priors alone, interval excluding 0",
                "≥ 2 tables",
                ", ".join(good) or "none",
                len(good) >= 2,
            )
        )
    return found


def _fixed(name: str, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for metric, bar in AT_MOST.get(name, {}).items():
        value = value_at(table, metric)
        found.append(_bar(f"{name}: {metric}", f"≤ {bar}", value, value is not None and value <= bar))
    for metric, bar in AT_LEAST.get(name, {}).items():
        value = value_at(table, metric)
        found.append(_bar(f"{name}: {metric}", f"≥ {bar}", value, value is not None and value >= bar))
    for family, bar in FAMILIES_AT_LEAST.get(name, {}).items():
        value = value_at(table, f"families.{family}.ours.apgr")
        found.append(_bar(f"{name}, {family}: apgr", f"≥ {bar}", value, value is not None and value >= bar))
    calibration = table["calibration"]
    if calibration["labels_per_head"] >= ECE_LABELS:
        worst = calibration["ece_max"]
        found.append(_bar(f"{name}: ECE of the worst head", f"≤ {ECE_BAR}", worst, worst <= ECE_BAR))
    return found


def _rivals(name: str, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    above = value_at(table, "differences.zero.aiq")
    lost = [rival for rival in RIVALS if value_at(table, f"differences.{rival}.intervals.aiq")[1] < 0]
    return [
        _bar(f"{name}: AIQ above the Zero router", "> 0", above, above is not None and above > 0),
        _bar(f"{name}: AIQ below a rival beyond the interval", "none", ", ".join(lost) or "none", not lost),
    ]


def _beats_all(table: Mapping[str, Any]) -> bool:
    return all(value_at(table, f"differences.{rival}.intervals.aiq")[0] > 0 for rival in RIVALS)


def _bar(what: str, bar: str, figure: Any, met: bool) -> dict[str, Any]:
    return {"what": what, "bar": bar, "figure": figure, "met": bool(met)}


def bar_lines(report: Mapping[str, Any]) -> list[str]:
    """The bars as a Markdown table."""
    lines = ["| what | bar | figure | met |", "| --- | --- | --- | --- |"]
    for entry in report.get("bars", []):
        figure = entry["figure"]
        shown = f"{figure:.4f}" if isinstance(figure, float) else str(figure)
        lines.append(f"| {entry['what']} | {entry['bar']} | {shown} | {'yes' if entry['met'] else '**no**'} |")
    return lines

"""The same facts in Markdown, for a pull request or a mail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.report.sections import (
    SPOTS_LEAD,
    Section,
    Table,
    calibration_sections,
    comparison_table,
    drift_sections,
    health_sections,
    label_table,
    model_table,
    operation_sections,
    spot_text,
)
from training.report.verdict import money_of, percent
from training.report.words import date_of


def markdown(facts: Mapping[str, Any]) -> str:
    """The whole page."""
    window, verdict = facts["window"], facts["verdict"]
    parts = [
        f"# {facts['title']}",
        f"{date_of(window['since'])} to {date_of(window['until'])} UTC, {window['decisions']:,} decisions",
        f"**{verdict['sentence']}**",
        verdict["note"],
        _savings(facts),
        _table(comparison_table(facts)),
        *_labels(facts),
        "## Where a model underperforms",
        *_spots(facts),
        "## Models",
        _table(model_table(facts)),
        _table(_pairs(facts)),
    ]
    for build in (calibration_sections, drift_sections, operation_sections, health_sections):
        for section in build(facts):
            parts += _section(section)
    return "\n\n".join(part for part in parts if part) + "\n"


def _savings(facts: Mapping[str, Any]) -> str:
    if facts["comparison"] is None:
        return ""
    savings = facts["comparison"]["savings"]
    return f"Saved {percent(savings['share'])}, {money_of(savings['usd'])}, against {facts['baseline']['model']} alone."


def _labels(facts: Mapping[str, Any]) -> list[str]:
    return ["## By task label", _table(label_table(facts))] if facts["labels"] else []


def _spots(facts: Mapping[str, Any]) -> list[str]:
    if not facts["weak_spots"]:
        return ["None beyond chance."]
    parts = [SPOTS_LEAD]
    for spot in facts["weak_spots"]:
        parts += [f"### {spot['model']} on {spot['label']}", *spot_text(spot), f"```yaml\n{spot['yaml']}```"]
    return parts


def _pairs(facts: Mapping[str, Any]) -> Table:
    """Quality by model and label."""
    models = [one["model"] for one in facts["models"]]
    cells = {(pair["label"], pair["model"]): pair["observed"]["value"] for pair in facts["pairs"]}
    rows = []
    for label in sorted({label for label, _ in cells}):
        values = [cells.get((label, model)) for model in models]
        rows.append((label, *("–" if value is None else f"{value:.2f}" for value in values)))
    return Table(("label", *models), rows, "Quality by model and label")


def _section(one: Section) -> list[str]:
    return [f"## {one.title}", *one.lines, *(_table(table) for table in one.tables)]


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"### {table.title}\n\n{text}" if table.title else text

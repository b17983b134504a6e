"""The facts as one self-contained HTML page: no script, no outside request, light and dark, phone and paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from training.report import svg
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
from training.report.verdict import dollars, money_of, percent, points, signed
from training.report.words import date_of, quality_of

STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(facts: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [
        _header(facts),
        _verdict(facts["verdict"]),
        _tiles(facts),
        _compared(facts),
        _days(facts),
        _labels(facts),
        _spots(facts),
        _models(facts),
        _calibration(facts),
        *(_section(one) for one in (*drift_sections(facts), *operation_sections(facts), *health_sections(facts))),
        _footer(),
    ]
    title, style = escape(facts["title"]), STYLE.read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n'
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(facts: Mapping[str, Any]) -> str:
    window = facts["window"]
    span = f"{date_of(window['since'])} to {date_of(window['until'])}, {window['decisions']:,} decisions"
    return f"<header><h1>{escape(facts['title'])}</h1><p>{escape(span)}</p></header>"


def _verdict(found: Mapping[str, str]) -> str:
    note = f"<p>{escape(found['note'])}</p>" if found["note"] else ""
    return f'<section class="verdict {found["status"]}"><p>{escape(found["sentence"])}</p>{note}</section>'


def _tiles(facts: Mapping[str, Any]) -> str:
    """The figures that people look for first."""
    found, estimate = facts["comparison"], facts["baseline"].get("estimate")
    if found is not None:
        cost, quality, savings = found["cost_per_1000"], found["satisfaction"], found["savings"]
        tiles = [
            ("Saved", _range(percent(savings["share"])), money_of(savings["usd"])),
            _cost_tile(cost),
            ("Satisfaction", quality_of(quality["routed"]), f"baseline {quality_of(quality['baseline'])}"),
            ("Difference in satisfaction", _range(points(quality["difference"])), "routed less baseline"),
        ]
    elif estimate is not None and estimate.get("cost_per_1000"):
        cost, quality = estimate["cost_per_1000"], estimate["satisfaction"]
        tiles = [
            _cost_tile(cost, "estimated"),
            ("Difference in satisfaction", _range(points(quality["difference"])), "estimated, off-policy"),
            ("Effective sample", f"{estimate['ess']:,.0f}", f"of {estimate['n']:,} decisions"),
        ]
    else:
        return ""
    inner = "".join(f"<div><dt>{escape(a)}</dt><dd>{b}<small>{escape(c)}</small></dd></div>" for a, b, c in tiles)
    return f'<dl class="tiles">{inner}</dl>'


def _compared(facts: Mapping[str, Any]) -> str:
    """Every figure of both arms, folded away."""
    table = _table(comparison_table(facts))
    return f"<details><summary>Routed against baseline, every figure</summary>{table}</details>" if table else ""


def _cost_tile(cost: Mapping[str, Any], note: str = "") -> tuple[str, str, str]:
    base = f"baseline {dollars(cost['baseline']['value'])}{', ' + note if note else ''}"
    return "Cost per 1,000 requests", dollars(cost["routed"]["value"]), base


def _range(words: str) -> str:
    """``63 % (61–65 %)`` with its interval on a line of its own."""
    figure, _, interval = words.partition(" (")
    return escape(figure) + (f"<small>({escape(interval)}</small>" if interval else "")


def _days(facts: Mapping[str, Any]) -> str:
    days = facts["days"]
    if len(days) < 2:
        return ""
    names = [one["day"][5:] for one in days]
    sides = ["routed", "baseline"] if any("baseline" in one for one in days) else ["routed"]
    key = _key(sides)
    shown = []
    for what, caption, show, zero in (
        ("cost_per_1000", "Cost per 1,000 requests", dollars, True),
        ("satisfaction", "Satisfaction", lambda x: f"{x:.2f}", False),
    ):
        series = {side: [one.get(side, {}).get(what) for one in days] for side in sides}
        drawn = svg.over_time(f"{caption} by day", names, series, show, from_zero=zero)
        shown.append(f"<figure><figcaption>{caption} {key}</figcaption>{drawn}</figure>")
    return f'<h2>Day by day</h2><p class="lead">Bands are 95 % intervals over users or sessions.</p>{_pair(shown)}'


def _key(sides: Sequence[str]) -> str:
    inner = "".join(f'<i class="s{i}"></i>{side}' for i, side in enumerate(sides))
    return f'<span class="key">{inner}</span>'


def _pair(figures: Iterable[str]) -> str:
    return f'<div class="pair">{"".join(figures)}</div>'


def _labels(facts: Mapping[str, Any]) -> str:
    labels = facts["labels"]
    if not labels:
        return ""
    quality = [(one["label"], one["accuracy"]["difference"]) for one in labels]
    spared = [(one["label"], one["saving"]) for one in labels]
    figures = [
        "<figure><figcaption>Accuracy, routed less baseline, in points</figcaption>"
        + svg.forest("Accuracy by label, routed less baseline", quality, lambda x: signed(100 * x, 0))
        + "</figure>",
        "<figure><figcaption>Cost saved against the baseline</figcaption>"
        + svg.forest("Cost saved by label", spared, lambda x: f"{signed(100 * x, 0)} %")
        + "</figure>",
    ]
    lead = "Intervals hold for all labels together, so they are wider than each alone would be."
    table = _table(label_table(facts))
    return (
        f'<h2>By task label</h2><p class="lead">{lead}</p>{_pair(figures)}'
        f"<details><summary>The figures</summary>{table}</details>"
    )


def _spots(facts: Mapping[str, Any]) -> str:
    title = "<h2>Where a model underperforms</h2>"
    if not facts["weak_spots"]:
        return (
            f'{title}<p class="lead">On no label was a model worse than the best alternative, and than the router '
            "believed, by more than five points beyond chance.</p>"
        )
    parts = []
    for spot in facts["weak_spots"]:
        said = "".join(f"<p>{escape(line)}</p>" for line in spot_text(spot))
        heading = f"{escape(spot['model'])} on {escape(spot['label'])}"
        parts.append(f'<article class="spot"><h3>{heading}</h3>{said}<pre>{escape(spot["yaml"])}</pre></article>')
    return f'{title}<p class="lead">{SPOTS_LEAD}</p>{"".join(parts)}'


def _models(facts: Mapping[str, Any]) -> str:
    models = "<h2>Models</h2>" + _table(model_table(facts))
    if not facts["pairs"]:
        return models
    return (
        models
        + "<h3>Quality by model and label</h3>"
        + '<p class="lead">Mean quality of the answers that a model gave, with its share of the label. Where a model '
        "answers only what it is good at, this flatters it. Outlined: see above.</p>" + _heat(facts)
    )


def _heat(facts: Mapping[str, Any]) -> str:
    """Model × label: quality as the depth of the colour, share in small print."""
    cells = {(pair["label"], pair["model"]): pair for pair in facts["pairs"]}
    weak = {(spot["label"], spot["model"]) for spot in facts["weak_spots"]}
    models = [one["model"] for one in facts["models"]]
    labels = sorted({label for label, _ in cells})
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in models)
    rows = []
    for label in labels:
        inner = "".join(_cell(cells.get((label, model)), (label, model) in weak) for model in models)
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{inner}</tr>')
    body = f'<thead><tr><th scope="col">label</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
    return _wide("Quality by model and label", f"<table>{body}</table>")


def _cell(pair: Mapping[str, Any] | None, weak: bool) -> str:
    if pair is None or pair["observed"]["value"] is None:
        return "<td><small>–</small></td>"
    value = pair["observed"]["value"]
    depth = round(70 * max(min((value - 0.2) / 0.8, 1.0), 0.0))
    style = "heat flag" if weak else "heat"
    return f'<td class="{style}" style="--h:{depth}%">{value:.2f} <small>{100 * pair["share"]:.0f} %</small></td>'


def _calibration(facts: Mapping[str, Any]) -> str:
    sections = calibration_sections(facts)
    curve = facts["calibration"]["curve"]
    if not curve:
        return "".join(_section(one) for one in sections)
    drawn = svg.reliability("Observed against predicted quality", curve)
    figure = f"<figure><figcaption>Did predictions come true?</figcaption>{drawn}</figure>"
    head, *rest = sections
    tables = "".join(_table(one) for one in head.tables)
    return (
        f"<h2>{escape(head.title)}</h2>"
        + "".join(f'<p class="lead">{escape(line)}</p>' for line in head.lines)
        + figure
        + tables
        + "".join(_section(one) for one in rest)
    )


def _section(one: Section) -> str:
    lead = "".join(f'<p class="lead">{escape(line)}</p>' for line in one.lines)
    return f"<h2>{escape(one.title)}</h2>{lead}" + "".join(_table(table) for table in one.tables)


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in table.rows
    )
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return title + _wide(table.title or "figures", body)


def _wide(name: str, inner: str) -> str:
    """A table that scrolls by itself where it is wider than the page, by keyboard too."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(name)}">{inner}</div>'


_FOOTER = (
    "Intervals are 95 %, clustered by user or session. Satisfaction is the mean of all feedback, judge scores "
    "corrected by real labels; within a model feedback is taken to be missing at random. Made by Pointsman."
)


def _footer() -> str:
    return f"<footer><p>{escape(_FOOTER)}</p></footer>"

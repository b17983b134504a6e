"""Tables and sentences that the HTML page and the Markdown page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.report.verdict import dollars, percent, points
from training.report.words import date_of, milliseconds, quality_of, share, with_interval


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; the first column names the row."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, sentences, tables."""

    title: str
    lines: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def comparison_table(facts: Mapping[str, Any]) -> Table:
    """Routed against baseline, one row for each figure."""
    found = facts["comparison"] or facts["baseline"].get("estimate") or {}
    rows = []
    if found.get("cost_per_1000"):
        rows.append(_money_row("cost per 1,000 requests", found["cost_per_1000"]))
    if found.get("satisfaction"):
        rows.append(_quality_row("satisfaction (all feedback)", found["satisfaction"]))
    rows += [_quality_row(f"… {name} signals alone", one) for name, one in found.get("by_source", {}).items()]
    if "failed" in found:
        rows.append(_quality_row("requests without an answer", found["failed"]))
        latency = [
            milliseconds(found["latency_ms"][side]["value"]).replace("-", "−")
            for side in ("routed", "baseline", "difference")
        ]
        rows.append(("mean latency of an answer", *latency))
    return Table(("", "routed", "baseline", "difference (95 %)"), rows)


def _money_row(name: str, pair: Mapping[str, Any]) -> tuple[str, ...]:
    gap = pair["difference"]
    limits = "" if gap["low"] is None else f" ({dollars(gap['low'])} to {dollars(gap['high'])})"
    cells = [
        dollars(pair[side]["value"]) if pair[side]["value"] is not None else "–" for side in ("routed", "baseline")
    ]
    return (name, *cells, "–" if gap["value"] is None else dollars(gap["value"]) + limits)


def _quality_row(name: str, pair: Mapping[str, Any]) -> tuple[str, ...]:
    return (name, quality_of(pair["routed"]), quality_of(pair["baseline"]), points(pair["difference"]))


def label_table(facts: Mapping[str, Any]) -> Table:
    """Routed against baseline by label."""
    rows = [
        (
            one["label"],
            f"{one['decisions']:,}",
            quality_of(one["accuracy"]["routed"]),
            quality_of(one["accuracy"]["baseline"]),
            points(one["accuracy"]["difference"]),
            percent(one["saving"]),
        )
        for one in facts["labels"]
    ]
    return Table(("label", "decisions", "routed", "baseline", "difference in accuracy", "cost saved"), rows)


def model_table(facts: Mapping[str, Any]) -> Table:
    """Share, quality and cost of each model in the routed traffic."""
    rows = [
        (
            one["model"],
            share(one["share"]),
            with_interval(one["quality"]),
            "–" if one["cost_per_1000"]["value"] is None else dollars(one["cost_per_1000"]["value"]),
            dollars(one["spent_usd"]),
        )
        for one in facts["models"]
    ]
    return Table(("model", "share of answers", "quality (95 %)", "cost per 1,000", "spent"), rows)


SPOTS_LEAD = (
    "Worse than the best alternative and than predicted, each by more than five points, intervals included. The "
    "proposed weights are what each model has shown (its present weight where that is too little to tell); weights act "
    "under the strategies capability-first and static alone."
)


def spot_text(spot: Mapping[str, Any]) -> list[str]:
    """What is known of a weak spot, and what would change."""
    gain, surprise = spot["gain"], spot["surprise"]
    lines = [
        f"It took {share(spot['share'], 0)} of this label and scored {with_interval(spot['observed'], 2)}. "
        f"{spot['best']} would have answered the same requests {_plain(gain)} better; against its own prediction, and "
        f"beside the other models, it fell short by {_plain(_turned(surprise))}."
    ]
    if spot["extra_cost_usd"] is not None:
        more = "more" if spot["extra_cost_usd"] >= 0 else "less"
        lines.append(
            f"Sending these requests to {spot['best']} would cost {dollars(abs(1000 * spot['extra_cost_usd']))} {more} "
            "per 1,000 of them."
        )
    if spot["now"]:
        lines.append("Now: " + ", ".join(f"{name} {weight:g}" for name, weight in spot["now"].items()) + ".")
    return lines


def _plain(found: Mapping[str, Any]) -> str:
    """Points without plus signs: the sentence says which way."""
    return points(found).replace("+", "")


def _turned(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "value": -found["value"],
        "low": None if found["high"] is None else -found["high"],
        "high": None if found["low"] is None else -found["low"],
    }


def calibration_sections(facts: Mapping[str, Any]) -> list[Section]:
    """ECE and mean gap by week."""
    found = facts["calibration"]
    if not found["weeks"]:
        return [Section("Calibration", ["Too few answers have both a prediction and a label to say anything."])]
    rows = [
        (
            f"{date_of(week['first'])[:10]} to {date_of(week['last'])[:10]}",
            f"{week['n']:,}",
            with_interval(week["ece"]),
            points(week["gap"]),
        )
        for week in found["weeks"]
    ]
    table = Table(("week", "labelled", "calibration error (95 %)", "observed less predicted"), rows)
    lead = "Quality that the router predicted for the model that answered, against what feedback said of the answer."
    return [Section("Calibration", [lead], [table])]


def drift_sections(facts: Mapping[str, Any]) -> list[Section]:
    """Prompts, prices, bundles and quality, first against second half; prompts against the bundle's training, too."""
    found = facts["drift"]
    labels, features = found["labels"], found["features"]
    lines = [
        f"First against second half (cut at {date_of(found['middle'])}). Task labels: {labels['verdict']} "
        f"(PSI {labels['psi']:.3f}, chance alone gives {labels['noise']:.3f}). {_feature_line(features)} "
        f"{_price_line(found)}"
    ]
    tables = []
    if labels["verdict"] != "stable":
        rows = [(one["label"], share(one["first"]), share(one["second"])) for one in labels["moved"]]
        tables.append(Table(("label", "first half", "second half"), rows, "Task labels that moved most"))
    if features["shifts"] and features["moved"]:
        moved = [one for one in features["shifts"] if one["verdict"] != "stable"]
        cells = [(o["name"], f"{o['psi']:.3f}", f"{o['first']:.3g}", f"{o['second']:.3g}") for o in moved]
        tables.append(Table(("structural feature", "PSI", "mean before", "mean after"), cells, "Prompts"))
    quality = [
        (one["model"], quality_of(one["first"]), quality_of(one["second"]), points(one["difference"]), _moved(one))
        for one in found["quality"]
    ]
    tables.append(
        Table(("model", "first half", "second half", "change", ""), quality, "Quality of each model's answers")
    )
    tables.append(_price_table(found))
    for name, title in (("prices", "Price versions in force"), ("bundles", "Bundles in force")):
        if len(found[name]) > 1:
            tables.append(_version_table(found[name], title))
    line, since = _since_training(found["training"])
    return [Section("Drift", [*lines, line], [table for table in (*tables, *since) if table.rows])]


def _since_training(found: Mapping[str, Any]) -> tuple[str, list[Table]]:
    """A line on what moved since the bundle learnt, and tables of it."""
    labels, features = found["labels"], found["features"]
    parts, tables = [], []
    if labels is not None:
        parts.append(f"Task labels: {labels['verdict']} (PSI {labels['psi']:.3f}).")
        rows = [(one["label"], share(one["first"]), share(one["second"])) for one in labels["moved"]]
        if labels["verdict"] != "stable":
            tables.append(Table(("label", "training", "window"), rows, "Task labels that moved since training"))
    if features is not None:
        parts.append(f"Form of the prompts: {features['moved']} of {features['of']} structural features moved.")
        cells = [
            (o["name"], f"{share(o['share'])} {o['side']}", f"{o['first']:.3g}", f"{o['second']:.3g}")
            for o in features["shifts"]
        ]
        header = ("structural feature", "prompts beyond the training median", "median then", "median now")
        tables.append(Table(header, cells, "Prompts since training"))
    parts += [f"Not compared: {reason}." for reason in found["lacking"]]
    return f"Against the bundle's training. {' '.join(parts)}", tables


def _moved(one: Mapping[str, Any]) -> str:
    if not one["moved"]:
        return "within chance"
    return "better" if one["difference"]["value"] > 0 else "worse"


def _feature_line(features: Mapping[str, Any]) -> str:
    if features["shifts"] is None:
        return "Too few prompts or features were logged to compare their form."
    moved = f"{features['moved']} of {features['of']} structural features moved"
    return f"Form of the prompts: {moved} (sample of {features['prompts']:,})."


def _price_line(found: Mapping[str, Any]) -> str:
    versions = len(found["prices"])
    changed = len(found["price_changes"])
    first = "Prices: one version throughout." if versions <= 1 else f"Prices: {versions} versions were in force."
    return first + (f" Logged costs imply other prices for {changed} models." if changed else "")


def _price_table(found: Mapping[str, Any]) -> Table:
    rows = [
        (one["model"], *(f"{one[half][0]:g} / {one[half][1]:g}" for half in ("first", "second")))
        for one in found["price_changes"]
    ]
    columns = ("model", "first half, USD per million in / out", "second half")
    return Table(columns, rows, "Prices that logged costs imply")


def _version_table(versions: list[dict[str, Any]], title: str) -> Table:
    rows = [(v["version"], date_of(v["first"]), date_of(v["last"]), f"{v['decisions']:,}") for v in versions]
    return Table(("version", "first seen", "last seen", "decisions"), rows, title)


def operation_sections(facts: Mapping[str, Any]) -> list[Section]:
    """Providers: calls, failures, fallbacks, latency."""
    found = facts["operations"]
    if not found["called"]:
        return [Section("Providers", ["The log holds no attempt, so nothing is known of calls."])]
    line = (
        f"Of {found['called']:,} requests {found['fallbacks']:,} ({share(found['fallbacks'] / found['called'], 2)}) "
        f"were answered by another model than the one chosen, and {found['unanswered']:,} not at all."
    )
    calls = [
        (
            f"{one['provider']} · {one['model']}",
            f"{one['calls']:,}",
            share(one["failed"] / one["calls"], 2),
            milliseconds(one["p50_ms"]),
            milliseconds(one["p95_ms"]),
            milliseconds(one["first_token_p50_ms"]),
        )
        for one in found["calls"]
    ]
    errors = [
        (
            f"{one['provider']} · {one['error']}",
            "–" if one["status"] is None else f"{one['status']:.0f}",
            f"{one['calls']:,}",
        )
        for one in found["errors"][:12]
    ]
    tables = [
        Table(("provider · model", "calls", "failed", "median", "95th percentile", "first token"), calls),
        Table(("error", "status", "calls"), errors, "Failures"),
    ]
    return [Section("Providers", [line], tables)]


def health_sections(facts: Mapping[str, Any]) -> list[Section]:
    """Rows seen, joined, labelled and used, and what is missing."""
    found = facts["health"]
    labels = found["labels"]
    line = (
        f"{share(found['label_rate'])} of the decisions have feedback. {labels.get('seen', 0):,} feedback rows were "
        f"seen, {labels.get('joined', 0):,} joined to a decision, {labels.get('superseded', 0):,} were repeated. "
        f"{found['without_user_or_session']:,} decisions have neither user nor session, and count each as its own."
    )
    if found["without_cost"]:
        line += (
            f" What {found['without_cost']:,} answered decisions cost is not known: they are left out of mean costs "
            "and of savings."
        )
    rejected = {name: count for name, count in found["rows"].items() if "." in name}
    rows = [(name.replace("_", " "), f"{count:,}") for name, count in {**found["events"], **rejected}.items()]
    missing = [(name, share(part)) for name, part in found["missing_by_model"].items()]
    sources = [(name, f"{count:,}") for name, count in found["sources"].items()]
    tables = [
        Table(("events", "rows"), rows),
        Table(("source of feedback", "decisions"), sources),
        Table(("model", "answers without feedback"), missing),
    ]
    return [Section("Data", [line], tables)]

"""The sentence on top, and the words for numbers with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

PRECISE = 0.02
"""An interval of satisfaction of more than ± two points is called wide."""


def verdict(facts: Mapping[str, Any]) -> dict[str, str]:
    """``status`` (``measured | estimated | refused``), ``sentence``, and ``note`` on what limits it (may be empty)."""
    baseline, window = facts["baseline"], facts["window"]
    over = f"Over {_days(window['days'])} and {window['decisions']:,} decisions,"
    if facts["comparison"] is not None:
        return {"status": "measured", **_measured(over, facts["comparison"], baseline)}
    need = _need(baseline["refused"])
    estimate = baseline["estimate"]
    if "refused" in estimate or estimate["cost_per_1000"] is None:
        why = estimate.get("refused", "the log has no costs")
        sentence = f"{over[:-1]}: no claim about savings, because {baseline['refused']['reason']}."
        return {"status": "refused", "sentence": sentence, "note": f"{_capital(why)}. {need}"}
    cost, quality = estimate["cost_per_1000"], estimate["satisfaction"]["difference"]
    sentence = (
        f"{over} routing is estimated (off-policy, not measured) to have cost {_beside(cost, estimate['model'])}, at "
        f"{points(quality)} of satisfaction."
    )
    return {"status": "estimated", "sentence": sentence, "note": f"{_capital(baseline['refused']['reason'])}. {need}"}


def _measured(over: str, found: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, str]:
    share, usd, quality = found["savings"]["share"], found["savings"]["usd"], found["satisfaction"]["difference"]
    if share["value"] is None:
        money = f"cost {money_of(found['cost_per_1000']['routed'])} per 1,000 requests"
    elif share["value"] >= 0:
        money = f"saved {percent(share)} against {baseline['model']} alone, {money_of(usd)}"
    else:
        money = f"cost {percent(negated(share))} more than {baseline['model']} alone"
    sentence = f"{over} routing {money}, at {points(quality)} of satisfaction."
    return {"sentence": sentence, "note": " ".join((*_width(quality), *_alarms(baseline)))}


def _width(quality: Mapping[str, Any]) -> list[str]:
    if quality["low"] is None or quality["high"] - quality["low"] <= 2 * PRECISE:
        return []
    half = 50 * (quality["high"] - quality["low"])
    more = ((quality["high"] - quality["low"]) / (2 * PRECISE)) ** 2
    return [
        f"The interval of satisfaction is ±{half:.1f} points wide; about {more:.1f} times the feedback on baseline "
        "answers would bring it to ±2."
    ]


def _alarms(baseline: Mapping[str, Any]) -> list[str]:
    return [f"Caution: {alarm}." for alarm in baseline["alarms"]]


def _need(refused: Mapping[str, Any]) -> str:
    """What would carry a claim, in one sentence."""
    needed, share, days = refused["labelled_needed"], refused["share"], refused["days_at_10_percent"]
    what = f"A baseline arm needs about {needed:,} answers with feedback for ±2 points"
    if days is None:
        return f"{what}; this log has no feedback at all, so no share of traffic can be named."
    if share is None:
        return f"{what}: more than half of this traffic, or 10 % of it for {_days(days)}."
    return f"{what}: {100 * share:.1f} % of this traffic for as long, or 10 % for {_days(days)}."


def _beside(cost: Mapping[str, Any], model: str) -> str:
    """``63 % (61–65 %) less than m alone``; in money where that is free."""
    change = share_of(cost["difference"], cost["baseline"]["value"])
    if change["value"] is None:
        return f"{money_of(cost['routed'])} per 1,000 requests, where {model} alone costs nothing"
    return f"{_signed_saving(change)} than {model} alone"


def _signed_saving(change: Mapping[str, Any]) -> str:
    """``63 % (61–65 %) less`` of a relative change."""
    if change["value"] <= 0:
        return f"{percent(negated(change))} less"
    return f"{percent(change)} more"


def share_of(found: Mapping[str, Any], whole: float) -> dict[str, Any]:
    """A number with its interval as a share of ``whole``."""
    return {
        name: None if found[name] is None or not whole else found[name] / whole for name in ("value", "low", "high")
    }


def negated(found: Mapping[str, Any]) -> dict[str, Any]:
    """The number with the other sign."""
    low, high = found["high"], found["low"]
    parts = {"value": found["value"], "low": low, "high": high}
    return {name: None if part is None else -part for name, part in parts.items()}


def percent(found: Mapping[str, Any]) -> str:
    """``63 % (61–65 %)``."""
    return _interval(found, lambda x: f"{100 * x:.0f}", "\u00a0%")


def points(found: Mapping[str, Any]) -> str:
    """``−0.2 points (−0.9 to +0.5)``."""
    if found["value"] is None:
        return "an unknown change"
    text = f"{signed(100 * found['value'])}\u00a0points"
    if found["low"] is None:
        return text
    return f"{text} ({signed(100 * found['low'])} to {signed(100 * found['high'])})"


def signed(number: float, digits: int = 1) -> str:
    """With a sign, and a true minus; what rounds to nothing has none."""
    text = f"{number:+.{digits}f}".replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text[1:]


def money_of(found: Mapping[str, Any]) -> str:
    """``$445 ($419–$472)``."""
    return _interval(found, dollars, "")


def dollars(usd: float) -> str:
    """Whole dollars from 100 on, cents below, more digits below a cent."""
    size, sign = abs(usd), "−" if usd < 0 else ""
    if size >= 100:
        return f"{sign}${size:,.0f}"
    return f"{sign}${size:.2f}" if size >= 0.01 or size == 0 else f"{sign}${size:.2g}"


def _interval(found: Mapping[str, Any], show: Callable[[float], str], unit: str) -> str:
    if found["value"] is None:
        return "unknown"
    if found["low"] is None:
        return f"{show(found['value'])}{unit}"
    return f"{show(found['value'])}{unit} ({show(found['low'])}–{show(found['high'])}{unit})"


def _days(days: float) -> str:
    if days < 1:
        hours = round(24 * days)
        return f"{hours} hour{'' if hours == 1 else 's'}" if hours else "less than an hour"
    return f"{days:.0f} day{'' if round(days) == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

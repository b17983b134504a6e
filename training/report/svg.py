"""Small pictures as inline SVG, drawn in the page's own colours so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH = 360
_PAD_LEFT, _PAD_RIGHT, _TOP, _BOTTOM = 46, 10, 12, 24
_ROW = 24


@dataclass(frozen=True)
class Scale:
    """A straight map of values onto pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of ``value``."""
        span = (self.high - self.low) or 1.0
        return round(self.start + (value - self.low) / span * (self.stop - self.start), 1)


def picture(title: str, body: str, height: float) -> str:
    """An SVG with a name for screen readers."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"{body}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "start", style: str = "") -> str:
    """A line of text."""
    name = f' class="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{name}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{style}"/>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values between ``low`` and ``high``, about ``count`` of them."""
    raw = ((high - low) or 1.0) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = -(-low // step) * step
    return [first + i * step for i in range(int((high - first) / step + 1e-9) + 1)]


def over_time(
    title: str,
    days: Sequence[str],
    series: Mapping[str, Sequence[Mapping[str, Any] | None]],
    show: Callable[[float], str],
    *,
    from_zero: bool = False,
) -> str:
    """One line for each series with its interval as a band; a missing value breaks the line.

    Args:
        title: For screen readers.
        days: Names of the days; the first and the last are written.
        series: Numbers (``value, low, high``) for each day by series; its place decides its colour.
        show: How a value is written at the axis.
        from_zero: Whether the axis begins at 0.
    """
    numbers = [x for one in series.values() for x in one if x is not None and x["value"] is not None]
    ends = [value for x in numbers for value in (x["low"], x["high"], x["value"]) if value is not None]
    if not ends:
        return ""
    low, high = (0.0 if from_zero else min(ends)), max(ends)
    height = 190
    down, across = (
        Scale(low, high, height - _BOTTOM, _TOP),
        Scale(0, max(len(days) - 1, 1), _PAD_LEFT, WIDTH - _PAD_RIGHT),
    )
    parts = []
    for tick in ticks(low, high):
        parts += [line(_PAD_LEFT, down(tick), WIDTH - _PAD_RIGHT, down(tick), "grid")]
        parts += [text(_PAD_LEFT - 6, down(tick) + 4, show(tick), "end")]
    parts += [text(_PAD_LEFT, height - 6, days[0]), text(WIDTH - _PAD_RIGHT, height - 6, days[-1], "end")]
    for place, one in enumerate(series.values()):
        parts += [_band(one, across, down, place), _path(one, across, down, place)]
    return picture(title, "".join(parts), height)


def _band(one: Sequence[Mapping[str, Any] | None], across: Scale, down: Scale, place: int) -> str:
    known = [(i, x["low"], x["high"]) for i, x in enumerate(one) if x is not None and x["low"] is not None]
    if len(known) < 2:
        return ""
    upper = [f"{across(i):g},{down(high):g}" for i, _, high in known]
    lower = [f"{across(i):g},{down(low):g}" for i, low, _ in reversed(known)]
    return f'<polygon points="{" ".join(upper + lower)}" class="band s{place}"/>'


def _path(one: Sequence[Mapping[str, Any] | None], across: Scale, down: Scale, place: int) -> str:
    points = [(across(i), down(x["value"])) for i, x in enumerate(one) if x is not None and x["value"] is not None]
    drawn = f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in points)}" class="line s{place}"/>'
    return drawn + "".join(f'<circle cx="{x:g}" cy="{y:g}" r="2" class="dot s{place}"/>' for x, y in points)


def forest(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], show: Callable[[float], str]) -> str:
    """Differences with their intervals against zero; those whose interval leaves zero out are drawn bold.

    Args:
        title: For screen readers.
        rows: Name and ``value, low, high`` of each.
        show: How a value is written.

    The axis is even about zero; where every interval lies above it, it begins there.
    """
    known = [(name, x) for name, x in rows if x["low"] is not None]
    if not known:
        return ""
    reach = max(max(abs(x["low"]), abs(x["high"])) for _, x in known)
    left, right = 118, WIDTH - 50
    lowest = 0.0 if min(x["low"] for _, x in known) >= 0 else -reach
    across, height = Scale(lowest, reach, left, right), len(known) * _ROW + 26
    parts = [line(across(0), 4, across(0), height - 20, "zero")]
    parts += [text(across(tick), height - 5, show(tick), "middle") for tick in ticks(lowest, reach)]
    for place, (name, x) in enumerate(known):
        y = place * _ROW + 16
        tone = "worse" if x["high"] < 0 else "better" if x["low"] > 0 else "even"
        parts += [
            text(left - 8, y + 4, _short(name), "end"),
            line(across(x["low"]), y, across(x["high"]), y, f"bar {tone}"),
        ]
        parts.append(f'<circle cx="{across(x["value"]):g}" cy="{y:g}" r="3.5" class="mark {tone}"/>')
        parts.append(text(WIDTH, y + 4, show(x["value"]), "end", "figure"))
    return picture(title, "".join(parts), height)


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def reliability(title: str, points: Sequence[Mapping[str, float]]) -> str:
    """Observed against predicted quality; the size of a dot grows with its answers."""
    height = 250
    across, down = Scale(0, 1, _PAD_LEFT, WIDTH - _PAD_RIGHT), Scale(0, 1, height - 36, _TOP)
    parts = [line(across(0), down(0), across(1), down(1), "zero")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [line(_PAD_LEFT, down(tick), WIDTH - _PAD_RIGHT, down(tick), "grid")]
        parts += [text(_PAD_LEFT - 6, down(tick) + 4, f"{tick:g}", "end")]
        parts += [text(across(tick), height - 20, f"{tick:g}", "middle")]
    parts.append(text(across(0.5), height - 3, "predicted quality (across), observed (up)", "middle"))
    most = max((x["n"] for x in points), default=1)
    shown = [(across(x["predicted"]), down(min(max(x["observed"], 0.0), 1.0)), x["n"]) for x in points]
    parts.append(f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y, _ in shown)}" class="line s0"/>')
    parts += [
        f'<circle cx="{x:g}" cy="{y:g}" r="{2 + 5 * (n / most) ** 0.5:.1f}" class="mark s0"/>' for x, y, n in shown
    ]
    return picture(title, "".join(parts), height)

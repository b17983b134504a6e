"""Figures as small PNGs: cost–quality frontier, reliability diagram, per-task heat map, comparison of two versions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox, BboxBase

from training.metrics import hull
from training.sweep import Floats

matplotlib.use("Agg")

Points = tuple[Floats, Floats]
DPI = 90
_NAME_PLACES = tuple((sideways, up) for up in (-9, 4, -2, -17, 12, -25, 20) for sideways in (1, -1))
"""Where a model's name may stand: right (1) or left (-1) of its dot, and points above it."""
_STEPS = 200
_FREE = 10.0
"""How far left of the least price what is free is drawn, as a factor: a log axis holds no zero."""
_MANY_DECADES = 3e4
"""Axes that reach further have no room for more than one label a decade."""


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No date and no version in the file, so that the same numbers give the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _axes(title: str, *, width: float = 7.0, height: float = 4.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    figure.suptitle(title, fontsize=11)  # over the whole picture: a heat map of two models is narrower than its title
    return figure, axes


def frontier(title: str, routers: Mapping[str, Points], singles: Mapping[str, tuple[float, float]]) -> bytes:
    """Mean quality against mean cost: every router's hull, every single model.

    Args:
        title: Title of the figure.
        routers: (mean costs [K], mean qualities [K]) by name, drawn in order.
        singles: (mean cost, mean quality) by model; one that is free stands on the left edge.
    """
    figure, axes = _axes(title)
    least = _least_cost(routers, singles)
    for name, (cost, quality) in routers.items():
        style = {"zero": "--", "oracle": ":"}.get(name, "-")
        ours = name == "ours"
        line = hull_line(cost, quality, least)
        axes.plot(*line, style, label=name, linewidth=2.4 if ours else 1.3, zorder=3 if ours else 2)
    axes.set_xscale("log")
    _name_models(figure, axes, _on_the_axis(singles, least))
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < _MANY_DECADES else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{1000 * cost:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("mean cost of 1,000 requests, USD (log scale)")
    axes.set_ylabel("mean quality")
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper")
    return _png(figure)


def hull_line(cost: Floats, quality: Floats, least: float) -> Points:
    """The hull of points as it is drawn: mixes of two settings lie on a line in cost, which is a curve on a log axis.

    Args:
        cost: [K] mean costs, ≥ 0.
        quality: [K] mean qualities.
        least: Where the axis begins, > 0; what costs less stands there.
    """
    xs, ys = hull(cost, quality)
    start, end = max(float(xs[0]), least), max(float(xs[-1]), least)
    grid = np.union1d(np.geomspace(start, end, _STEPS), xs[(xs > start) & (xs < end)])
    return grid, np.interp(grid, xs, ys)


def _least_cost(routers: Mapping[str, Points], singles: Mapping[str, tuple[float, float]]) -> float:
    """Where the axis begins: the least cost of all, or left of the least price where a model is free."""
    prices = np.array([cost for cost, _ in singles.values()])
    every = np.concatenate([prices, *(cost for cost, _ in routers.values())])
    if (every > 0).all():
        return float(every.min())
    paid = prices[prices > 0] if (prices > 0).any() else every[every > 0]
    return float(paid.min()) / _FREE if len(paid) else 1e-6


def _on_the_axis(singles: Mapping[str, tuple[float, float]], least: float) -> dict[str, tuple[float, float]]:
    """The models as they are drawn: free ones on the left edge, and named so."""
    return {
        name if cost > 0 else f"{name} (free)": (max(cost, least), quality) for name, (cost, quality) in singles.items()
    }


def _name_models(figure: Figure, axes: Axes, singles: Mapping[str, tuple[float, float]]) -> None:
    """A dot and its name for each model; a name goes where it covers the fewest dots and other names."""
    for cost, quality in singles.values():
        axes.plot(cost, quality, "o", color="black", markersize=4, zorder=4)
    axes.margins(y=0.08)  # room for a name below the lowest dot
    figure.draw_without_rendering()  # only a picture that was laid out knows what lies where
    dots = [axes.transData.transform(place) for place in singles.values()]
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
    for dot, (name, place) in enumerate(singles.items()):
        text = axes.annotate(
            name,
            place,
            fontsize=6.5,
            xytext=(0, 0),
            textcoords="offset points",
            zorder=5,
            path_effects=[withStroke(linewidth=1.5, foreground="white", alpha=0.7)],
        )
        others = taken[:dot] + taken[dot + 1 :]
        best = min(_NAME_PLACES, key=lambda where: _covered(_move(text, where), axes.bbox, others))
        taken.append(_move(text, best))


def _move(text: Annotation, where: tuple[int, int]) -> Bbox:
    """Puts a name at one of ``_NAME_PLACES``; what it then covers."""
    sideways, up = where
    text.set(position=(4 * sideways, up), ha="left" if sideways > 0 else "right")
    return text.get_window_extent()


def _covered(box: Bbox, picture: BboxBase, others: Sequence[Bbox]) -> int:
    """How many of ``others`` a name covers; leaving the picture is worse than covering them all."""
    inside = picture.x0 <= box.x0 and box.x1 <= picture.x1 and picture.y0 <= box.y0 and box.y1 <= picture.y1
    return box.count_overlaps(others) + (0 if inside else len(others) + 1)


def reliability(title: str, curves: Mapping[str, tuple[Floats, Floats, Floats]]) -> bytes:
    """Observed against predicted quality per bin and model.

    Args:
        title: Title of the figure.
        curves: By model: mean prediction, mean outcome and number of answers per bin, each [bins].
    """
    figure, axes = _axes(title, width=5.2, height=4.8)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, (predicted, observed, counts) in curves.items():
        enough = counts >= 10
        axes.plot(predicted[enough], observed[enough], "o-", markersize=3, linewidth=1, label=name)
    axes.set_xlabel("predicted P(good answer)")
    axes.set_ylabel("mean quality observed")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=6)
    return _png(figure)


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], values: Floats) -> bytes:
    """Values [rows, columns] in 0..1 with their numbers; NaN stays blank."""
    figure, axes = _axes(title, width=max(1.9 + 0.62 * len(columns), 5.0), height=1.7 + 0.26 * len(rows))
    axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=7)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    for i, j in zip(*np.nonzero(np.isfinite(values)), strict=True):
        ink = "white" if values[i, j] < 0.6 else "black"
        axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=6, color=ink)
    return _png(figure)


def differences(title: str, names: Sequence[str], values: Sequence[tuple[float, float, float]]) -> bytes:
    """Differences with their intervals, one line each, against zero.

    Args:
        title: Title of the figure.
        names: What differs.
        values: (value, low, high) for each.
    """
    figure, axes = _axes(title, height=1.4 + 0.34 * len(names))
    places = np.arange(len(names))
    value, low, high = np.array(values, dtype=np.float64).reshape(-1, 3).T
    axes.errorbar(value, places, xerr=np.clip(np.vstack((value - low, high - value)), 0, None), fmt="o", capsize=3)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_xlabel("difference, with its 95 % interval")
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    return _png(figure)

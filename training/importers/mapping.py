"""A column mapping in YAML: any CSV, JSON, JSONL or Parquet file as outcomes.

::

    prompt: question                            # column or dotted path: text, or messages
    model: model_name                           # or {value: gpt-5.5}, where the file is of one model
    quality: {column: rating, scale: stars}     # unit | percent | thumbs | stars | {low: 0, high: 10}
    cost_usd: {column: price, unit: cents}      # usd | cents | microdollars; without it: tokens × prices
    input_tokens: tokens_in
    output_tokens: tokens_out
    latency_ms: {column: took, unit: s}         # ms | s
    prompt_id: id                               # without it: the hash of the text
    task: category                              # task, domain, group, session, time, pscore: where you have them
    prices: {gpt-5.5: {input: 6, output: 30}}   # USD per million tokens

Without ``prompt``, ``model`` or ``quality`` the columns of these names are read; other fields only where named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router_runtime.errors import ConfigError
from router_runtime.registry_yaml import Section, Value, parse_yaml
from training.importers.collecting import Outcome, Prices, Skip
from training.importers.reading import Row
from training.importers.values import BadValue, find, number, prompt_text, seconds, text

TEXTS = ("prompt_id", "task", "domain", "group", "session", "time")
COUNTS = ("input_tokens", "output_tokens")
KEYS = ("prompt", "model", "quality", "cost_usd", "latency_ms", "pscore", "prices", *COUNTS, *TEXTS)
SCALES: Mapping[str, tuple[float, float]] = {
    "unit": (0.0, 1.0),
    "percent": (0.0, 100.0),
    "thumbs": (-1.0, 1.0),
    "stars": (1.0, 5.0),
}
"""What is 0 and what is 1 of a scale."""
COST_UNITS: Mapping[str, float] = {"usd": 1.0, "cents": 1e-2, "microdollars": 1e-6}
TIME_UNITS: Mapping[str, float] = {"ms": 1.0, "s": 1e3}
_WORDS = {"up": 1.0, "down": -1.0, "👍": 1.0, "👎": -1.0, "true": 1.0, "false": -1.0}


@dataclass(frozen=True)
class Quality:
    """Where a quality stands, and its scale.

    Args:
        column: Column or dotted path.
        low, high: What is 0 and what is 1.
        thumbs: Whether words and true/false are read as thumbs.
    """

    column: str
    low: float = 0.0
    high: float = 1.0
    thumbs: bool = False

    def read(self, row: Row) -> float | None:
        """Quality 0..1; None where there is none.

        Raises:
            BadValue: Where it is no number on the scale.
        """
        raw = find(row, self.column)
        if isinstance(raw, bool):
            return float(raw)
        if self.thumbs and isinstance(raw, str):
            raw = _WORDS.get(raw.strip().lower(), raw)
        value = number(raw, self.column, self.low, self.high)
        if self.thumbs and value is not None and value not in (-1.0, 1.0):
            raise BadValue(self.column, "is not a thumb (-1 or 1)")
        return None if value is None else (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class ColumnMapping:
    """Where each field stands.

    Args:
        prompt: Column of the prompt.
        model: Column of the model; or None, and ``model_value`` names it.
        model_value: The one model of the file.
        quality: The quality, or None.
        cost: Column and factor to USD, or None.
        latency: Column and factor to ms, or None.
        pscore: Column of the propensity, or None.
        columns: Column by field, of ``COUNTS`` and ``TEXTS``.
        prices: Prices by model.
    """

    prompt: str
    model: str | None
    model_value: str | None = None
    quality: Quality | None = None
    cost: tuple[str, float] | None = None
    latency: tuple[str, float] | None = None
    pscore: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    prices: Prices = field(default_factory=dict)

    def convert(self, row: Row) -> list[Outcome] | Skip:
        """The outcome of one row.

        Raises:
            BadValue: Where a field cannot be used.
        """
        prompt = prompt_text(find(row, self.prompt), self.prompt)
        if prompt is None:
            raise BadValue(self.prompt, "is missing")
        model = self.model_value or text(find(row, self.model or ""), self.model or "")
        if model is None:
            raise BadValue(self.model or "model", "is missing")
        return [
            Outcome(
                prompt_id=self._text(row, "prompt_id"),
                text=prompt,
                model=model,
                quality=self.quality.read(row) if self.quality else None,
                input_tokens=self._count(row, "input_tokens"),
                output_tokens=self._count(row, "output_tokens"),
                cost_usd=_scaled(row, self.cost),
                latency_ms=_scaled(row, self.latency),
                task=self._text(row, "task"),
                domain=self._text(row, "domain"),
                group=self._text(row, "group"),
                extra=self._extra(row),
                pscore=number(find(row, self.pscore), self.pscore, 0.0, 1.0) if self.pscore else None,
            )
        ]

    def _text(self, row: Row, name: str) -> str | None:
        column = self.columns.get(name)
        return None if column is None else text(find(row, column), column)

    def _count(self, row: Row, name: str) -> float | None:
        column = self.columns.get(name)
        return None if column is None else number(find(row, column), column)

    def _extra(self, row: Row) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if "session" in self.columns:
            extra["session"] = self._text(row, "session")
        if "time" in self.columns:
            extra["time"] = seconds(find(row, self.columns["time"]), self.columns["time"])
        return extra


def _scaled(row: Row, source: tuple[str, float] | None) -> float | None:
    if source is None:
        return None
    value = number(find(row, source[0]), source[0])
    return None if value is None else value * source[1]


def load_mapping(path: Path) -> ColumnMapping:
    """Reads a mapping.

    Raises:
        ConfigError: Where it is missing or not valid, with file, line and the key meant.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_mapping(data, path.name)


def parse_mapping(data: bytes, file: str) -> ColumnMapping:
    """Parses a mapping.

    Raises:
        ConfigError: Where it is not valid.
    """
    section = Section(parse_yaml(data, file), "the mapping", KEYS)
    model, value = _model(section.get("model")) if "model" in section else ("model", None)
    return ColumnMapping(
        prompt=section.text("prompt", "prompt"),
        model=model,
        model_value=value,
        quality=_quality(section.get("quality")) if "quality" in section else None,
        cost=_with_unit(section, "cost_usd", COST_UNITS),
        latency=_with_unit(section, "latency_ms", TIME_UNITS),
        pscore=section.text("pscore", None),
        columns={name: section.text(name) for name in (*COUNTS, *TEXTS) if name in section},
        prices=_prices(section),
    )


def _model(value: Value) -> tuple[str | None, str | None]:
    if isinstance(value.data, dict):
        return None, Section(value, "model", ("value",)).text("value")
    return value.text("model"), None


def _quality(value: Value) -> Quality:
    if not isinstance(value.data, dict):
        return Quality(value.text("quality"))
    section = Section(value, "quality", ("column", "scale"))
    scale = section.get("scale") if "scale" in section else None
    if scale is not None and isinstance(scale.data, dict):
        bounds = Section(scale, "quality.scale", ("low", "high"))
        low, high = (bounds.number(name, low=-1e9) for name in ("low", "high"))
        if low >= high:
            raise scale.error("quality.scale.low must be below high")
        return Quality(section.text("column"), low, high)
    name = section.choice("scale", SCALES, "unit")
    return Quality(section.text("column"), *SCALES[name], thumbs=name == "thumbs")


def _with_unit(section: Section, key: str, units: Mapping[str, float]) -> tuple[str, float] | None:
    if key not in section:
        return None
    value = section.get(key)
    if not isinstance(value.data, dict):
        return value.text(key), 1.0
    inner = Section(value, key, ("column", "unit"))
    return inner.text("column"), units[inner.choice("unit", units, next(iter(units)))]


def _prices(section: Section) -> Prices:
    found = {}
    for name, value in section.named("prices"):
        inner = Section(value, f"prices.{name}", ("input", "output"))
        found[name] = (inner.number("input"), inner.number("output"))
    return found

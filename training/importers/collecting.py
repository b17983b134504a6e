"""Rows read one by one → a table, with every rejected and skipped row counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from router_runtime.errors import RowError
from training.dataset import Table, checked_table
from training.importers.reading import Row
from training.importers.values import BadValue
from training.prices import implied_prices
from training.validation import EXAMPLES, RowReport


class Skip(NamedTuple):
    """A row that a rule leaves out; it is not malformed."""

    rule: str


class Outcome(NamedTuple):
    """One answer of one model to one prompt; None is unknown.

    Args:
        prompt_id: Key of the prompt; the hash of its text where None.
        text: The prompt.
        model: Who answered.
        quality: 0..1.
        input_tokens, output_tokens: Counts.
        cost_usd: Cost of the call.
        latency_ms: Its time.
        task, domain, group: Labels of the prompt.
        extra: Other columns of the prompt (``session``, ``time``).
        pscore: Propensity of the choice, in logs.
    """

    prompt_id: str | None
    text: str
    model: str
    quality: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    task: str | None = None
    domain: str | None = None
    group: str | None = None
    extra: Mapping[str, Any] | None = None
    pscore: float | None = None


Convert = Callable[[Row], Iterable[Outcome] | Skip]
Prices = Mapping[str, tuple[float, float]]
"""USD per million input and output tokens by model."""


@dataclass
class Collector:
    """Collects outcomes of one file.

    Args:
        file: Name for messages.
    """

    file: str
    outcomes: list[Outcome] = field(default_factory=list)
    seen: int = 0
    used: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[RowError] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)

    def collect(self, rows: Iterable[tuple[int, Row | RowError]], convert: Convert) -> None:
        """Converts every row; a row that cannot be is rejected and the rest goes on."""
        for place, row in rows:
            self.seen += 1
            if isinstance(row, RowError):
                self._reject(row)
                continue
            try:
                found = convert(row)
            except BadValue as bad:
                self._reject(RowError(bad.reason, file=self.file, row=place, field=bad.field))
                continue
            if isinstance(found, Skip):
                self.skipped[found.rule] += 1
                continue
            made = list(found)
            if not all(self._same_text(one) for one in made):
                reason = "stands for another text already"
                self._reject(RowError(reason, file=self.file, row=place, field="prompt_id"))
                continue
            self.outcomes.extend(made)
            self.used += 1

    def _same_text(self, one: Outcome) -> bool:
        """Whether its id, where it has one, stands for this very text; the first text of an id holds."""
        return one.prompt_id is None or self._texts.setdefault(one.prompt_id, one.text) == one.text

    def _reject(self, error: RowError) -> None:
        self.rejected[f"{error.field}: {error.reason}"] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(error)

    def table(self, name: str, prices: Prices, max_bad_share: float) -> Table:
        """The table of what was collected.

        Raises:
            TooManyBadRows: Where more than ``max_bad_share`` (0..1) of the rows were rejected.
            DataError: Where nothing is left.
        """
        report = RowReport(self.seen, self.used, dict(self.rejected), dict(self.skipped), examples=tuple(self.examples))
        report.require(self.file, max_bad_share)
        prompts, outcomes = self._frames()
        outcomes["cost_usd"] = outcomes["cost_usd"].mask(_unpaid(outcomes))
        models = _models(outcomes, prices)
        return checked_table(
            prompts, outcomes, models, name=name, source=self.file, before=report, max_bad_share=max_bad_share
        )

    def _frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        ids = [one.prompt_id or _hashed(one.text) for one in self.outcomes]
        prompts = pd.DataFrame(
            {
                "prompt_id": ids,
                **{name: [getattr(one, name) for one in self.outcomes] for name in ("text", "task", "domain", "group")},
            }
        )
        extras = pd.DataFrame([one.extra or {} for one in self.outcomes], index=prompts.index)
        prompts = pd.concat([prompts, extras], axis=1)
        numbers = ("quality", "input_tokens", "output_tokens", "cost_usd", "latency_ms", "pscore")
        outcomes = pd.DataFrame(
            {
                "prompt_id": ids,
                "model": [one.model for one in self.outcomes],
                **{name: pd.array([getattr(one, name) for one in self.outcomes], dtype="Float64") for name in numbers},
            }
        )
        if outcomes["pscore"].isna().all():
            outcomes = outcomes.drop(columns="pscore")
        return prompts, outcomes


def _hashed(text: str) -> str:
    return "p" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:20]


def _unpaid(outcomes: pd.DataFrame) -> pd.Series[bool]:
    """Which answers are said to be free though the same model's others cost something: their cost is unknown.

    Systems that do not know a price, or lost the usage of a stream, write a cost of 0.
    """
    cost, tokens = outcomes["cost_usd"], outcomes[["input_tokens", "output_tokens"]].sum(axis=1)
    paid = outcomes["model"].isin(outcomes["model"][(cost > 0).fillna(False).astype(bool)])
    return (cost == 0).fillna(False).astype(bool) & paid & (tokens > 0)


def _models(outcomes: pd.DataFrame, prices: Prices) -> pd.DataFrame:
    names = sorted(set(outcomes["model"]))
    implied = implied_prices(outcomes, [name for name in names if name not in prices])
    known = {**implied, **prices}
    return pd.DataFrame(
        {
            "model": names,
            "price_in_per_m": [known[name][0] for name in names],
            "price_out_per_m": [known[name][1] for name in names],
            "core_pool": True,
        }
    )

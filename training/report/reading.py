"""A log → what the report is made of: one row for each decision, calls by provider, and a sample of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from training.labels import FEEDBACK_COLUMNS, LabelRules, Labels, combine
from training.log_events import FEEDBACK, CheckedLog, checked_log
from training.log_features import read_features
from training.log_table import candidate_matrices
from training.ope.decisions import label_weights
from training.validation import RowReport

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
SAMPLE = 20_000
"""Prompts that drift is measured on."""

_GOOD = "(SELECT * FROM decision WHERE reason IS NULL QUALIFY row_number() OVER (PARTITION BY decision_id) = 1)"
_DECISIONS = f"""
    SELECT made.decision_id, made.time, b.chosen AS chosen, calls.served, b.propensity AS pscore, b.arm AS arm,
        coalesce(b.labels[1], b.task.domain, 'unknown') AS label, b.tier AS tier, b.price_version AS price_version,
        b.bundle_version AS bundle_version, b.user_hash IS NOT NULL AS has_user,
        b.user_hash IS NOT NULL OR b.session IS NOT NULL AS has_subject,
        hash(coalesce(b.user_hash, b.session, made.decision_id)) >> 1 AS subject,
        hash(coalesce(b.session, made.decision_id)) >> 1 AS session,
        [c.model FOR c IN b.candidates] AS candidates, [c.probability FOR c IN b.candidates] AS probability,
        [c.quality FOR c IN b.candidates] AS predicted_quality, [c.cost_usd FOR c IN b.candidates] AS predicted_cost,
        coalesce(calls.attempts, 0) AS attempts, calls.total_cost_usd AS cost, calls.answer.i AS input_tokens,
        calls.answer.o AS output_tokens, calls.answer.c AS cost_usd, calls.answer.l AS latency_ms
    FROM {_GOOD} AS made LEFT JOIN calls USING (decision_id) ORDER BY made.time, made.decision_id"""  # noqa: S608
_SAMPLE = """
    SELECT time, b.prompt AS prompt, b.intent AS intent, to_json(b.counts)::VARCHAR AS counts,
        b.features.ids AS feature_ids, b.features.structural AS structural
    FROM decision WHERE reason IS NULL AND hash(decision_id) % {one_in} = 0
        AND (b.prompt IS NOT NULL OR b.features IS NOT NULL)"""
_EACH_CALL = """
    (SELECT b.* FROM (SELECT * FROM attempt WHERE reason IS NULL) SEMI JOIN decision USING (decision_id)
    QUALIFY row_number() OVER (PARTITION BY decision_id, b.index ORDER BY time DESC) = 1)"""
_CALLS = f"""
    SELECT coalesce(provider, '?') AS provider, model, count(*) AS calls, count(error) AS failed,
        quantile_cont(latency_ms, 0.5) FILTER (error IS NULL) AS p50_ms,
        quantile_cont(latency_ms, 0.95) FILTER (error IS NULL) AS p95_ms,
        quantile_cont(first_token_ms, 0.5) FILTER (error IS NULL) AS first_token_p50_ms
    FROM {_EACH_CALL} GROUP BY ALL ORDER BY calls DESC, model"""  # noqa: S608
_ERRORS = f"""
    SELECT coalesce(provider, '?') AS provider, error, status, count(*) AS calls FROM {_EACH_CALL}
    WHERE error IS NOT NULL GROUP BY ALL ORDER BY calls DESC, error LIMIT 50"""  # noqa: S608


@dataclass(frozen=True, eq=False)
class ReportLog:
    """n decisions over A models, in order of time.

    Args:
        frame: ``time`` (UTC seconds), ``chosen, served, arm, label, tier, price_version, bundle_version`` (categories),
            ``pscore``, ``alone`` (one candidate), ``session`` (else the decision itself, int64), ``attempts``, ``cost``
            (USD, NaN = unknown), ``latency_ms`` and the answer's tokens.
        models: Names of the A models.
        action_dist: π_b, float64[n, A], 0 where not eligible.
        predicted_quality, predicted_cost: float64[n, A], NaN where nothing was said.
        subject: User, else session, else the decision itself, int64[n].
        labels: Labels of the decisions, from all signals.
        reward: Quality of the answer to evaluate on, NaN = unknown, float64[n].
        by_source: Mean signal of each source, NaN where it said nothing, float64[n].
        calls, errors: Calls by provider and model; failed ones by class.
        prompts: ``time`` and the structural numbers of at most :data:`SAMPLE` prompts.
        report: What became of the events.
        kinds: Good events by kind.
    """

    frame: pd.DataFrame
    models: list[str]
    action_dist: Floats
    predicted_quality: Floats
    predicted_cost: Floats
    subject: Ints
    labels: Labels
    reward: Floats
    by_source: Mapping[str, Floats]
    calls: pd.DataFrame
    errors: pd.DataFrame
    prompts: tuple[Floats, npt.NDArray[np.float32]]
    report: RowReport
    kinds: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def model(self) -> Ints:
        """Index of the model that answered, −1 where none did, int64[n]."""
        return _codes(self.frame["served"], self.models)

    @cached_property
    def action(self) -> Ints:
        """Index of the chosen model, int64[n]."""
        return _codes(self.frame["chosen"], self.models)

    @cached_property
    def label_names(self) -> list[str]:
        """The task labels by name."""
        return sorted(self.frame["label"].cat.categories)

    @cached_property
    def label(self) -> Ints:
        """Index of the task label, int64[n]."""
        return _codes(self.frame["label"], self.label_names)

    def by_session(self) -> ReportLog:
        """The same with sessions as subjects, for arms that sessions are dealt to: a user's may lie in several."""
        return replace(self, subject=self.frame["session"].to_numpy(dtype=np.int64))

    def column(self, name: str) -> Floats:
        """A column of numbers, float64[n]."""
        return self.frame[name].to_numpy(dtype=np.float64)

    def label_weight(self, rows: Bools) -> Floats:
        """1 / share of labelled answers of the model among ``rows``, 0 without a label or outside them, float64[n]."""
        weight = np.zeros(len(self))
        known = np.isfinite(self.reward[rows])
        if known.any():
            weight[rows] = label_weights(known, self.model[rows] + 1, len(self.models) + 1)
        return weight


def read_report_log(
    root: Path, *, since: float | None = None, until: float | None = None, rules: LabelRules | None = None
) -> ReportLog:
    """Reads a log folder, without its prompts but for a sample. (Arguments and errors of ``log_table.load_log``.)"""
    with checked_log(root, since=since, until=until) as log:
        decisions = _encoded(log.db.sql(_DECISIONS).to_arrow_table())
        feedback: pd.DataFrame = log.db.sql(FEEDBACK).df()[list(FEEDBACK_COLUMNS)]
        calls, errors = log.db.sql(_CALLS).df(), log.db.sql(_ERRORS).df()
        prompts = _prompts(log.db, decisions.num_rows)
    return _assembled(log, decisions, feedback, (calls, errors), prompts, rules or LabelRules(min_used=0))


def _assembled(
    log: CheckedLog,
    decisions: pa.Table,
    feedback: pd.DataFrame,
    calls: tuple[pd.DataFrame, pd.DataFrame],
    prompts: tuple[Floats, npt.NDArray[np.float32]],
    rules: LabelRules,
) -> ReportLog:
    flat = decisions.drop_columns(["candidates", "probability", "predicted_quality", "predicted_cost"])
    frame: pd.DataFrame = flat.to_pandas()
    models = _model_names(decisions, frame)
    eligible, (dist, quality, cost) = candidate_matrices(decisions, models)
    frame["alone"] = eligible.sum(axis=1) == 1
    answering = pd.DataFrame({"decision_id": frame["decision_id"], "model": frame["served"].astype(object)})
    answering["model"] = answering["model"].fillna(frame["chosen"].astype(object))
    labels = combine(feedback, answering, rules)
    return ReportLog(
        frame=frame.drop(columns=["decision_id", "subject"]),
        models=models,
        action_dist=np.nan_to_num(dist),
        predicted_quality=quality,
        predicted_cost=cost,
        subject=frame["subject"].to_numpy(dtype=np.int64),
        labels=labels,
        reward=labels.reward,
        by_source=_by_source(feedback, frame["decision_id"]),
        calls=calls[0],
        errors=calls[1],
        prompts=prompts,
        report=log.report,
        kinds=log.kinds,
    )


def _encoded(decisions: pa.Table) -> pa.Table:
    """Text of few values as categories, so that a million rows are small."""
    for place, field in enumerate(decisions.schema):
        if field.type == pa.string() and field.name != "decision_id":
            decisions = decisions.set_column(place, field.name, decisions[field.name].dictionary_encode())
    return decisions


def _model_names(decisions: pa.Table, frame: pd.DataFrame) -> list[str]:
    named = set(decisions["candidates"].combine_chunks().flatten().unique().to_pylist())
    return sorted(named | set(frame["served"].dropna().unique()))


def _codes(column: pd.Series[Any], names: list[str]) -> Ints:
    """Index of each value among ``names``, −1 where there is none, int64[n]."""
    categories = pd.Index(names).get_indexer(pd.Index(column.cat.categories))
    return np.append(categories, -1)[column.cat.codes.to_numpy()].astype(np.int64)


def _by_source(feedback: pd.DataFrame, ids: pd.Series[Any]) -> dict[str, Floats]:
    """Mean signal of each source on each decision; of repeated signals the latest holds, as for labels."""
    feedback = feedback.sort_values("time", kind="stable")
    feedback = feedback.drop_duplicates(["decision_id", "source", "metric"], keep="last")
    row = pd.Index(ids).get_indexer(feedback["decision_id"])
    value = feedback["value"].to_numpy(dtype=np.float64)
    found = {}
    for source in feedback["source"].unique():
        mine = (row >= 0) & (feedback["source"] == source).to_numpy()
        count = np.bincount(row[mine], minlength=len(ids))
        total = np.bincount(row[mine], weights=value[mine], minlength=len(ids))
        found[str(source)] = np.divide(total, count, out=np.full(len(ids), np.nan), where=count > 0)
    return found


def _prompts(db: duckdb.DuckDBPyConnection, decisions: int) -> tuple[Floats, npt.NDArray[np.float32]]:
    sample = db.sql(_SAMPLE.format(one_in=max(-(-decisions // SAMPLE), 1))).to_arrow_table()
    if not sample.num_rows:
        return np.zeros(0), np.zeros((0, 0), dtype=np.float32)
    features = read_features(sample)
    return sample["time"].to_numpy(), features.distinct.structural[features.code]

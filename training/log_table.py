"""A decision log as a table to learn from and as decisions to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from router_runtime.encoder import TextEncoder
from router_runtime.errors import NotSupported
from training.dataset import Table
from training.feature_matrix import RepeatedFeatures
from training.labels import FEEDBACK_COLUMNS, LabelRules, Labels, combine
from training.log_events import LogEvents, read_events
from training.log_features import feature_groups, read_features
from training.ope.decisions import LoggedDecisions
from training.prices import implied_prices
from training.told import told
from training.validation import MAX_BAD_SHARE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEGMENTS = ("domain", "tier")
ALONE = "g-"
"""Begins the groups of decisions that tell no request."""
_LISTS = ("candidates", "probability", "predicted_quality", "predicted_cost")
_AGENTS = ("agents", "agent_probability")
_TEXT = ("session", "tier", "user_hash", "intent", "arm", "policy", "policy_version", "bundle_version", "price_version")


@dataclass(frozen=True, eq=False)
class LogTable:
    """n decisions over A models, in order of time.

    Args:
        table: ``prompts`` has one row for each decision (``prompt_id`` is the decision's id; also ``time``,
            ``session``, ``tier`` …; ``text`` is empty where the log holds none); ``outcomes`` one for each answered
            one: the **served** model, quality and ``weight`` of its label (NaN and 0 without one), tokens, cost and
            latency of its answer, ``chosen`` and its ``pscore``.
        features: Of the n requests: those that were logged, else of the text; each different one is read once.
        decisions: One row for each decision: ``decision_id, time, chosen, served, pscore, attempts, total_cost_usd`` …
        action_dist: π_b, float64[n, A], 0 where not eligible.
        predicted_quality, predicted_cost: What the router predicted, float64[n, A], NaN where it said nothing.
        eligible: bool[n, A].
        feedback: ``labels.FEEDBACK_COLUMNS``, every good signal.
        labels: Labels of the decisions, from all signals.
        kinds: Good events by kind.
        agents: Names of the G agents that could have been given a task; none in a log without agents.
        agent_dist: Probability with which each was given it, float64[n, G], NaN where it could not be.
    """

    table: Table
    features: RepeatedFeatures
    decisions: pd.DataFrame
    action_dist: Floats
    predicted_quality: Floats
    predicted_cost: Floats
    eligible: npt.NDArray[np.bool_]
    feedback: pd.DataFrame
    labels: Labels
    kinds: Mapping[str, int]
    agents: tuple[str, ...]
    agent_dist: Floats

    @property
    def models(self) -> list[str]:
        """Names of the A models."""
        return self.table.model_names

    def counts(self) -> dict[str, int]:
        """Counts for a run's record: events seen and used, rejected ones by reason, and the labels'."""
        labels = {f"labels.{name}": count for name, count in self.labels.counts.items()}
        kinds = {f"events.{kind}": count for kind, count in self.kinds.items()}
        return {**self.table.report.counts(), **kinds, **labels}

    def require_requests(self) -> LogTable:
        """This log, where every decision tells its request.

        Raises:
            NotSupported: One does not, and would count as an empty request.
        """
        untold = self.table.prompts["group"].str.startswith(ALONE).sum()
        if untold:
            raise NotSupported(
                f"{untold} of {len(self.decisions)} decisions keep no request; load the log without them"
            )
        return self

    def logged_decisions(self) -> LoggedDecisions:
        """The decisions as off-policy evaluation reads them."""
        column = self.decisions
        return LoggedDecisions(
            models=tuple(self.models),
            logging_dist=self.action_dist,
            eligible=self.eligible,
            action=pd.Index(self.models).get_indexer(pd.Index(column["chosen"])).astype(np.int64),
            pscore=column["pscore"].to_numpy(dtype=np.float64),
            quality=self.labels.reward,
            cost=column["total_cost_usd"].to_numpy(dtype=np.float64),
            predicted_quality=self.predicted_quality,
            predicted_cost=self.predicted_cost,
            features=self.features,
            session=_sessions(column),
            segments={name: self.table.prompts[name].fillna("none").to_numpy(dtype=np.str_) for name in SEGMENTS},
        )


def load_log(
    root: Path,
    *,
    since: float | None = None,
    until: float | None = None,
    known_by: float | None = None,
    rules: LabelRules | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    encoder: TextEncoder | None = None,
    with_requests: bool = True,
) -> LogTable:
    """Reads a log folder: sealed days and open spools as one.

    Late feedback counts like any other; of repeated feedback on a decision by one source about one metric the latest
    holds; signals that disagree are weighed by ``rules``; feedback on unknown decisions is dropped and counted.

    Args:
        root: The log's folder.
        since, until: Decisions with since ≤ time < until (UTC seconds since the epoch).
        known_by: Feedback later than this is left out, so that a later reading finds the same; None = all there is.
        rules: How labels are made of feedback.
        max_bad_share: Bound on malformed events of a kind, 0..1.
        encoder: Reads the logged texts, too.
        with_requests: Leaves out, and counts, the decisions that hold neither prompt nor features (nor the text that
            the encoder reads); else they count as empty requests, each in a group of its own.

    Raises:
        DataError: Where there is no log, a file cannot be read, or no decision is left.
        NotSupported: Where no decision tells its request.
        TooManyBadRows: Above the bound.
        TooFewRows: Where fewer decisions get a label than ``rules`` asks for.
    """
    events = read_events(root, since=since, until=until, max_bad_share=max_bad_share)
    if with_requests:
        events = told(events, encoder is not None)
    if known_by is not None:
        events = replace(events, feedback=events.feedback.filter(pc.less_equal(events.feedback["time"], known_by)))
    outside = "" if since is None and until is None else " or one outside the window"
    return _log_table(events, rules or LabelRules(min_used=0), root.name or str(root), outside, encoder)


def _log_table(events: LogEvents, rules: LabelRules, name: str, outside: str, encoder: TextEncoder | None) -> LogTable:
    features = read_features(events.decisions, encoder)
    decisions = _decision_frame(events.decisions)
    models = _model_names(events.decisions, decisions)
    eligible, (dist, quality, cost) = candidate_matrices(events.decisions, models)
    agents = sorted(set(pc.unique(pc.list_flatten(events.decisions["agents"].combine_chunks())).to_pylist()))
    _, (agent_dist,) = candidate_matrices(events.decisions, agents, _AGENTS)
    feedback: pd.DataFrame = events.feedback.to_pandas()[list(FEEDBACK_COLUMNS)]
    answering = decisions[["decision_id"]].assign(model=decisions["served"].fillna(decisions["chosen"]))
    labels = combine(feedback, answering, rules)
    table = Table(
        prompts=_prompts(decisions, features),
        outcomes=_outcomes(decisions, labels),
        models=_models(decisions, models),
        name=name,
        report=replace(events.report, skipped={**events.report.skipped, **_feedback_drops(labels, outside)}),
    )
    kept = decisions.drop(columns=["prompt", "has_features"])
    return LogTable(
        table=table,
        features=features,
        decisions=kept,
        action_dist=np.nan_to_num(dist),
        predicted_quality=quality,
        predicted_cost=cost,
        eligible=eligible,
        feedback=feedback,
        labels=labels,
        kinds=events.kinds,
        agents=tuple(agents),
        agent_dist=agent_dist,
    )


def _feedback_drops(labels: Labels, outside: str) -> dict[str, int]:
    names = {
        "unknown_decision": f"feedback on an unknown decision{outside}",
        "superseded": "feedback that was repeated",
    }
    return {text: labels.counts[key] for key, text in names.items() if labels.counts.get(key)}


def _decision_frame(found: pa.Table) -> pd.DataFrame:
    """The flat columns, the answer's numbers in columns of their own."""
    answer = found["answer"]
    names = {"input_tokens": "i", "output_tokens": "o", "cost_usd": "c", "latency_ms": "l"}
    flat = found.drop_columns([*_LISTS, *_AGENTS, "feature_ids", "structural", "answer"])
    flat = flat.append_column("has_features", found["feature_ids"].is_valid())
    for name, member in names.items():
        flat = flat.append_column(name, pc.struct_field(answer, member))
    frame: pd.DataFrame = flat.to_pandas()
    frame["attempts"] = frame["attempts"].fillna(0).astype(np.int64)
    return frame


def _model_names(found: pa.Table, decisions: pd.DataFrame) -> list[str]:
    """Every model that was ever eligible or served, by name."""
    named = set(pc.unique(pc.list_flatten(found["candidates"].combine_chunks())).to_pylist())
    return sorted(named | set(decisions["served"].dropna()))


def candidate_matrices(
    found: pa.Table, models: list[str], columns: tuple[str, ...] = _LISTS
) -> tuple[npt.NDArray[np.bool_], list[Floats]]:
    """Eligible bool[n, A], and the numbers of each (probability, predicted quality …) float64[n, A], else NaN.

    Args:
        found: Of :attr:`training.log_events.LogEvents.decisions`.
        models: The A names.
        columns: The column of names, then those of numbers; a null list is of a decision that has none.
    """
    lists = found[columns[0]].combine_chunks()
    row = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    encoded = pc.list_flatten(lists).dictionary_encode()
    place = pd.Index(models).get_indexer(encoded.dictionary.to_pylist())
    column = place[encoded.indices.to_numpy(zero_copy_only=False)]
    eligible = np.zeros((found.num_rows, len(models)), dtype=np.bool_)
    eligible[row, column] = True
    parts = []
    for name in columns[1:]:
        matrix = np.full(eligible.shape, np.nan)
        values = pc.list_flatten(found[name].combine_chunks()).to_numpy(zero_copy_only=False)
        matrix[row, column] = values.astype(np.float64)
        parts.append(matrix)
    return eligible, parts


def _prompts(decisions: pd.DataFrame, features: RepeatedFeatures) -> pd.DataFrame:
    prompts = decisions[["decision_id", "task", "domain", "time", *_TEXT]]
    prompts = prompts.rename(columns={"decision_id": "prompt_id"})
    prompts.insert(1, "text", decisions["prompt"].fillna("").astype("str"))
    nothing = (decisions["prompt"].isna() & ~decisions["has_features"]).to_numpy()
    groups = np.where(nothing, ALONE + decisions["decision_id"].to_numpy(dtype=object), feature_groups(features))
    prompts.insert(4, "group", groups)
    return prompts


def _outcomes(decisions: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "prompt_id": decisions["decision_id"],
            "model": decisions["served"],
            "quality": labels.quality,
            **{name: decisions[name] for name in ("input_tokens", "output_tokens", "cost_usd", "latency_ms")},
            "weight": labels.weight,
            "pscore": decisions["pscore"],
            "chosen": decisions["chosen"],
            "provenance": labels.provenance,
        }
    )
    return frame[decisions["served"].notna()].reset_index(drop=True)


def _models(decisions: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """The models with the prices that the logged costs imply, USD per million tokens; null where they imply none."""
    answers = decisions.rename(columns={"served": "model"})
    prices = implied_prices(answers, models)
    return pd.DataFrame(
        {
            "model": models,
            "price_in_per_m": [prices[model][0] for model in models],
            "price_out_per_m": [prices[model][1] for model in models],
            "core_pool": True,
        }
    )


def _sessions(decisions: pd.DataFrame) -> Ints:
    """A number for each session, int64[n]; decisions without one have each their own."""
    own = decisions["session"].where(decisions["session"].notna(), "\x00" + decisions["decision_id"])
    return np.asarray(pd.factorize(own)[0], dtype=np.int64)

"""Which agent should have had the tasks: dispatch on a log, judged by the same estimators as the choice of models.

The action is the agent, its propensity the one that the dispatch logged. A task whose caller named the agent, or that
only one agent might take, holds no choice and is left out. A rule that names an agent who may not take a task leaves
that task as it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.errors import ConfigError, DataError, NotSupported
from router_runtime.registry_yaml import did_you_mean
from training.evaluate_log import FOLDS, LEVEL, as_json
from training.log_table import LogTable
from training.ope.compare import HEADLINE, Comparison, compare
from training.ope.decisions import LoggedDecisions
from training.ope.estimators import BanditLog
from training.ope.prompt_features import prompt_features
from training.ope.reward_model import assign_folds, crossfit_ridge
from training.ope.support import SupportBounds, check_support, require_support

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
REST = "*"
_CLOSE = 1e-6


def evaluate_agents(
    log: LogTable, rules: Sequence[str] = (), *, bounds: SupportBounds | None = None, seed: int = 0
) -> dict[str, Any]:
    """Quality and cost of "always this agent", of the likeliest agent and of ``rules``, beside the logged dispatch.

    Args:
        log: Read by :func:`training.log_table.load_log`.
        rules: Each ``label=agent,…`` with ``*`` for the other labels, which else stay as they were given.
        bounds: When the log is taken to support a claim.
        seed: Of the folds.

    Returns:
        JSON-ready: ``agents``, ``n``, ``left_out`` (decisions by reason), ``label_rate``, ``headline``, ``logged``
        (``quality``, ``cost``) and ``policies`` by name: ``quality`` and ``cost`` with their ``difference`` from the
        logged dispatch, ``ess``, or ``refused`` with the reason. Costs are null where the log holds none.

    Raises:
        ConfigError: A rule is malformed, or names an agent that the log has not.
        DataError: The log holds no dispatch, or no outcome of one.
        NotSupported: It supports none of the policies; ``details`` hold the report.
    """
    decisions, left_out = dispatched(log)
    study = _Study(decisions, seed)
    found = {name: _judged(study, policy, bounds) for name, policy in policies(decisions, rules).items()}
    report = {
        "agents": list(decisions.models),
        "n": len(decisions.action),
        "left_out": left_out,
        "label_rate": round(float(np.isfinite(decisions.quality).mean()), 4),
        "headline": HEADLINE,
        "logged": study.logged(),
        "policies": found,
    }
    if all(one["refused"] is not None for one in found.values()):
        raise NotSupported(str(next(iter(found.values()))["refused"]), details=report)
    return {**report, "refused": False}


def dispatched(log: LogTable) -> tuple[LoggedDecisions, dict[str, int]]:
    """The decisions whose agent was drawn from several, with the agents as actions; and how many are not, by reason.

    Raises:
        DataError: There is none.
    """
    column = log.decisions
    place = np.asarray([log.agents.index(one) if one in log.agents else -1 for one in column["agent"]], dtype=np.int64)
    pscore = column["agent_pscore"].to_numpy(dtype=np.float64, na_value=np.nan)
    several = np.isfinite(log.agent_dist).sum(axis=1) > 1
    true = _true_rows(np.nan_to_num(log.agent_dist), place, pscore)
    named = column["agent"].notna().to_numpy(dtype=np.bool_)
    reasons = {
        "without an agent": ~named,
        "without a choice of agents": named & ~several,
        "whose agent's propensity is not its share of the dispatch": named & several & ~true,
    }
    left_out = {reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()}
    kept = named & several & true
    if not kept.any():
        said = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise DataError(f"the log holds no task that agents were drawn for (decisions: {said})")
    return _as_decisions(log, place, pscore, kept), left_out


def _true_rows(dist: Floats, place: npt.NDArray[np.int64], pscore: Floats) -> Bools:
    """Whether the logged shares are a distribution and the propensity is the agent's share, bool[n]."""
    if dist.shape[1] == 0:
        return np.zeros(len(place), dtype=np.bool_)
    own = dist[np.arange(len(place)), place]
    whole = (np.abs(dist.sum(axis=1) - 1) <= _CLOSE) & (dist >= 0).all(axis=1)
    return np.asarray((place >= 0) & whole & (pscore > 0) & (np.abs(own - pscore) <= _CLOSE))


def _as_decisions(log: LogTable, place: npt.NDArray[np.int64], pscore: Floats, kept: Bools) -> LoggedDecisions:
    models = log.logged_decisions()
    dist = log.agent_dist[kept]
    unknown = np.full(dist.shape, np.nan)  # the router predicts models, not agents
    labels = log.decisions["task"].fillna("none").to_numpy(dtype=np.str_)
    return LoggedDecisions(
        models=log.agents,
        logging_dist=np.nan_to_num(dist),
        eligible=np.isfinite(dist),
        action=place[kept],
        pscore=pscore[kept],
        quality=models.quality[kept],
        cost=models.cost[kept],
        predicted_quality=unknown,
        predicted_cost=unknown,
        features=log.features.take(kept),
        session=models.session[kept],
        segments={"label": labels[kept]},
    )


def policies(log: LoggedDecisions, rules: Sequence[str]) -> dict[str, Floats]:
    """π float64[n, G] by name: ``always AGENT``, ``likeliest`` (the dispatch without its exploration), each rule.

    Raises:
        ConfigError: A rule is malformed, or names an agent that the log has not.
    """
    found = {f"always {name}": _given(log, np.full(len(log.action), g)) for g, name in enumerate(log.models)}
    found["likeliest"] = _given(log, log.logging_dist.argmax(axis=1))
    for rule in rules:
        wanted = _read_rule(rule, log.models)
        rest = wanted.get(REST, -1)
        chosen = np.array([wanted.get(str(label), rest) for label in log.segments["label"]], dtype=np.int64)
        found[rule] = _given(log, chosen)
    return found


def _given(log: LoggedDecisions, agent: npt.NDArray[np.int64]) -> Floats:
    """All to ``agent`` [n]; as logged where that is −1, or one who may not take the task."""
    rows = np.flatnonzero(agent >= 0)
    rows = rows[log.eligible[rows, agent[rows]]]
    policy = log.logging_dist.copy()
    policy[rows] = 0.0
    policy[rows, agent[rows]] = 1.0
    return policy


def _read_rule(rule: str, agents: Sequence[str]) -> dict[str, int]:
    wanted = {}
    for part in rule.split(","):
        label, equals, agent = (piece.strip() for piece in part.partition("="))
        if not (label and equals and agent):
            raise ConfigError(f"the rule {rule!r} is not of the form label=agent,*=agent")
        if agent not in agents:
            raise ConfigError(f"the log dispatches to no agent {agent!r}{did_you_mean(agent, agents)}")
        wanted[label] = agents.index(agent)
    return wanted


class _Study:
    """What is the same for every policy: the rewards and their cross-fitted models."""

    def __init__(self, log: LoggedDecisions, seed: int) -> None:
        self.log = log
        features, fold = prompt_features(log.features, seed=seed), assign_folds(log.session, FOLDS, seed)
        self.rewards: dict[str, tuple[BanditLog, Floats]] = {}
        for name, reward, high in (("quality", log.quality, 1.0), ("cost", log.cost, np.inf)):
            if name == "cost" and not np.isfinite(reward).any():
                continue
            bandit = log.bandit(reward)
            q_hat = crossfit_ridge(features, bandit, fold, len(log.models), bounds=(0.0, high))
            self.rewards[name] = (bandit, q_hat)

    def logged(self) -> dict[str, Any]:
        """Quality and cost of the dispatch as it was; the cost is None where the log holds none."""
        return {"cost": None, **{name: as_json(pair.first) for name, pair in self._pairs(self.log.logging_dist)}}

    def worth(self, policy: Floats) -> dict[str, Any]:
        """Quality and cost of ``policy`` float64[n, G], and what it differs from the logged dispatch by."""
        found: dict[str, Any] = {"cost": None}
        for name, pair in self._pairs(policy):
            found[name] = {**as_json(pair.first), "difference": as_json(pair.difference)}
        return found

    def _pairs(self, policy: Floats) -> Iterator[tuple[str, Comparison]]:
        for name, parts in self.rewards.items():
            yield name, compare(policy, self.log.logging_dist, *parts, level=LEVEL, share=name == "quality")


def _judged(study: _Study, policy: Floats, bounds: SupportBounds | None) -> dict[str, Any]:
    log = study.log
    labelled = study.rewards["quality"][0]
    support = check_support(policy, log.logging_dist, labelled, log.segments, bounds)
    entry = {"ess": round(support[0].ess, 1), "unseen": round(support[0].unseen, 6)}
    try:
        require_support(support, policy, log.logging_dist, labelled, bounds)
    except NotSupported as refusal:
        return {**entry, "refused": str(refusal)}
    return {**entry, "refused": None, **study.worth(policy)}


def agents_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    logged = report["logged"]
    lines = [
        f"{report['n']:,} tasks given to {len(report['agents'])} agents by dispatch, {report['headline']} with 95 % "
        "intervals",
        *(f"left out: {count:,} decisions {reason}" for reason, count in report["left_out"].items()),
        "",
        f"{'as logged':24} quality {_figure(logged['quality'])}  cost {_dollars(logged['cost'])}",
    ]
    for name, one in report["policies"].items():
        if one["refused"] is not None:
            lines.append(f"{name:24} refused: {one['refused']}")
            continue
        quality, cost = one["quality"], one["cost"]
        lines.append(
            f"{name:24} quality {_figure(quality)}  cost {_dollars(cost)}  "
            f"difference {_figure(quality['difference'])}, {_dollars(cost and cost['difference'])}"
        )
    return "\n".join(lines)


def _dollars(found: Mapping[str, Any] | None) -> str:
    return "unknown" if found is None else f"{_figure(found)} USD"


def _figure(found: Mapping[str, Any]) -> str:
    if found["ci_low"] is None:
        return f"{found['value']:.4g}"
    return f"{found['value']:.4g} ({found['ci_low']:.4g} to {found['ci_high']:.4g})"

"""Simulated decisions → the events that a router would have logged, in the sealed form, with the truth beside them.

What stays the same on each prompt is encoded once, so that a million decisions take a minute and not an hour.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from router_runtime.errors import ConfigError
from router_runtime.features import extract
from router_runtime.keeping import WITH_FEATURES, kept_features, kept_text
from router_runtime.messages import Request
from router_runtime.records import Attempt, Candidate, Decision, Feedback, TaskProfile, to_dict, uuid7
from router_runtime.stores.spool import spool_files
from training.dataset import Table
from training.event_log import events_table, sealed_files, write_events
from training.simulate import NOBODY, Simulated, draw
from training.simulated_feedback import Signals, signals
from training.simulated_world import Floats, Ints, SimulationSettings, day_policy, day_utility

TRUTH_FILE = "truth.json"
PROVIDER = "simulated"
ROUTED_ARM, BASELINE_ARM = "holdout/router", "holdout/baseline"
_CHUNK = 25_000
_DOWN = 503


def simulate(
    table: Table,
    out: Path,
    settings: SimulationSettings,
    n: int,
    seed: int,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Any]:
    """Writes a log of n decisions to the folder ``out``, and ``truth.json`` into it.

    Args:
        table: Full information.
        out: The log's folder.
        settings: How the log comes about.
        n: Decisions.
        seed: The same seed gives the same events.
        report: Told (decisions written, n).

    Returns:
        What ``truth.json`` holds.

    Raises:
        ConfigError: Where ``n`` is below 1, or ``out`` holds another log: both would be read as one, with the truth of
            neither.
        DataError: Where the table has nothing to decide on.
    """
    _require_place(out, settings, n, seed)
    drawn = draw(table, settings, n, seed)
    rng = np.random.default_rng([seed, 3])
    writer = _Writer(drawn)
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        ids = [uuid7(float(time), rng.bytes(10)) for time in drawn.time[rows]]
        parts = [writer.decisions(rows, ids), writer.attempts(rows, ids)]
        parts += [writer.feedback(found, ids, start) for found in signals(drawn, rows, rng)]
        write_events(out, pa.concat_tables(parts), uuid7(settings.start, rng.bytes(10)))
        report(int(rows[-1]) + 1, n)
    truth = {"seed": seed, "settings": asdict(settings), **drawn.truth()}
    (out / TRUTH_FILE).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return truth


def _require_place(out: Path, settings: SimulationSettings, n: int, seed: int) -> None:
    """The same simulation may be written again, over itself: its files have the same names."""
    if not sealed_files(out) and not spool_files(out):
        return
    try:
        there = json.loads((out / TRUTH_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = {}
    if not isinstance(there, dict) or any(
        there.get(name) != value for name, value in (("seed", seed), ("settings", asdict(settings)), ("decisions", n))
    ):
        raise ConfigError(f"{out} holds another log already; name another folder, or remove that one")


class _Writer:
    """Events of one simulation; what stays the same on a prompt is made once (``drifting``: once a day)."""

    def __init__(self, drawn: Simulated) -> None:
        self.drawn, self.world, self.settings = drawn, drawn.world, drawn.settings
        pool = drawn.world.table
        self.models = pool.model_names
        self.quoted = [json.dumps(name) for name in self.models]
        self.texts, self.tasks, self.domains = (
            [str(value) for value in pool.prompts[name]] for name in ("text", "task", "domain")
        )
        self.tokens_in, self.tokens_out, self.latency = (
            pool.matrix(name) for name in ("input_tokens", "output_tokens", "latency_ms")
        )
        self.expected_in, self.expected_out = np.nan_to_num(self.tokens_in), np.nan_to_num(self.tokens_out)
        self._version = -1
        self._dist: Floats = np.empty((0, 0))
        self._score: Floats = np.empty((0, 0))
        self._decisions: dict[tuple[int, bool], str] = {}
        self._answers: dict[tuple[int, int], str] = {}

    def decisions(self, rows: Ints, ids: list[str]) -> pa.Table:
        """Decision events."""
        drawn = self.drawn
        columns = (drawn.day, drawn.prompt, drawn.action, drawn.time, drawn.pscore, drawn.session, drawn.held)
        bodies = [
            f'{{"id":"{identity}","time":{time!r},"chosen":{self.quoted[action]},"propensity":{pscore!r},'
            f'"session":"s{session}",{self._decision(day, prompt, held)}'
            for identity, day, prompt, action, time, pscore, session, held in zip(
                ids, *(column[rows].tolist() for column in columns), strict=True
            )
        ]
        return _events("decision", ids, ids, drawn.time[rows].tolist(), bodies)

    def attempts(self, rows: Ints, ids: list[str]) -> pa.Table:
        """Attempt events: a failed one where the chosen model was down, and the answer."""
        drawn = self.drawn
        columns = (drawn.time, drawn.prompt, drawn.action, drawn.served)
        keys, owners, times, bodies = [], [], [], []
        for identity, time, prompt, action, served in zip(
            ids, *(column[rows].tolist() for column in columns), strict=True
        ):
            for index, model in enumerate((action,) if served == action else (action, served)):
                if model == NOBODY:
                    continue
                keys.append(f"{identity}-a{index}")
                owners.append(identity)
                times.append(time)
                call = self._answer(prompt, model) if model == served else self._failure(model)
                bodies.append(f'{{"decision_id":"{identity}","index":{index},"time":{time!r},{call}')
        return _events("attempt", keys, owners, times, bodies)

    def feedback(self, found: Signals, ids: list[str], start: int) -> pa.Table:
        """Feedback events of one source on the decisions ``start`` and after."""
        record = to_dict(Feedback("", 0.0, found.metric, 0.0, found.source))
        fixed = _rest(record, ("decision_id", "time", "value"), {})
        owners = [ids[row - start] for row in found.rows.tolist()]
        times = found.time.tolist()
        bodies = [
            f'{{"decision_id":"{owner}","time":{time!r},"value":{value!r},{fixed}'
            for owner, time, value in zip(owners, times, found.value.tolist(), strict=True)
        ]
        return _events("feedback", [f"{owner}-{found.metric}" for owner in owners], owners, times, bodies)

    def _decision(self, day: int, prompt: int, held: bool) -> str:
        """The members of a decision that its prompt, day and arm decide."""
        version = day if self.settings.policy == "drifting" else 0
        if version != self._version:
            self._version, self._decisions = version, {}
            self._dist = day_policy(self.world, self.settings, version)
            self._score = day_utility(self.world, self.settings, version)
        key = (prompt, held)
        if key not in self._decisions:
            self._decisions[key] = self._encoded(prompt, held)
        return self._decisions[key]

    def _encoded(self, prompt: int, held: bool) -> str:
        mode, text = self.settings.log_prompts, self.texts[prompt]
        asked = Request(text)
        own = {
            "candidates": self._candidates(prompt, held),
            "arm": self._arm(held),
            "task": {**_DECISION["task"], "domain": self.domains[prompt], "domain_probability": 1.0},
            "policy": self.settings.policy,
            "policy_version": f"simulated-{self._version}",
            "labels": [self.tasks[prompt]],
            "prompt": None if (kept := kept_text(text, mode)) is None else str(kept),
            "features": kept_features(extract(asked), asked, mode) if mode in WITH_FEATURES else None,
        }
        return _rest(_DECISION, ("id", "time", "chosen", "propensity", "session"), own)

    def _arm(self, held: bool) -> str | None:
        if not self.settings.holdout_model:
            return None
        return BASELINE_ARM if held else ROUTED_ARM

    def _candidates(self, prompt: int, held: bool) -> list[dict[str, Any]]:
        """The eligible models, best first; in the baseline arm the one that is fixed."""
        score = self._score[prompt]
        order = np.argsort(-score, kind="stable")[: int(self.world.eligible[prompt].sum())]
        if held:
            order = np.array([self.models.index(self.settings.holdout_model)])
        return [
            _CANDIDATE
            | {
                "model": self.models[a],
                "quality": float(self.world.predicted_quality[prompt, a]),
                "input_tokens": float(self.expected_in[prompt, a]),
                "output_tokens": float(self.expected_out[prompt, a]),
                "cost_usd": float(self.world.predicted_cost[prompt, a]),
                "score": float(score[a]),
                "probability": 1.0 if held else float(self._dist[prompt, a]),
            }
            for a in order
        ]

    def _failure(self, model: int) -> str:
        """The members of an attempt at a model that is down."""
        own = {"model": self.models[model], "status": _DOWN, "error": "ServerError", "billed": False, "cost_usd": 0.0}
        return _rest(_ATTEMPT, _OF_A_CALL, own)

    def _answer(self, prompt: int, model: int) -> str:
        """The members of an answer that prompt and model decide."""
        key = (prompt, model)
        if key not in self._answers:
            own = {
                "model": self.models[model],
                "status": 200,
                "input_tokens": _count(self.tokens_in[key]),
                "output_tokens": _count(self.tokens_out[key]),
                "cost_usd": float(self.world.cost[key]),
                "latency_ms": float(self.latency[key]) if np.isfinite(self.latency[key]) else None,
                "finish_reason": "stop",
                "response_model": self.models[model],
            }
            self._answers[key] = _rest(_ATTEMPT, _OF_A_CALL, own)
        return self._answers[key]


_CANDIDATE = asdict(Candidate("", 0.0, 0.0, 0.0, 0.0, None, 0.0, 0.0))
_DECISION = to_dict(Decision("", 0.0, "", 0.0, (), {}, TaskProfile(), "", "", "none", "simulated"))
_ATTEMPT = to_dict(Attempt("", 0, 0.0, "", PROVIDER))
_OF_A_CALL = ("decision_id", "index", "time")


def _count(value: float) -> int | None:
    return round(value) if np.isfinite(value) else None


def _rest(record: Mapping[str, Any], omitted: tuple[str, ...], own: Mapping[str, Any]) -> str:
    """JSON of ``record`` with ``own`` members from the second one on, without the ``omitted`` ones."""
    data = {key: value for key, value in {**record, **own}.items() if key not in omitted}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))[1:]


def _events(kind: str, keys: list[str], owners: list[str], times: list[float], bodies: list[str]) -> pa.Table:
    columns: dict[str, list[Any]] = {"id": keys, "decision_id": owners, "time": times, "body": bodies}
    return events_table({**columns, "kind": [kind] * len(keys)})

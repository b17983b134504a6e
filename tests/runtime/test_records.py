"""The log contract's own types."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict

import pytest

from router_runtime.records import Attempt, Candidate, Decision, Feedback, Slate, TaskProfile, to_dict

ROWS = tuple(Candidate(f"m{i}", 0.9 - i / 10, 10.0, 5.0, 0.001, None, 1.0 - i, float(i == 0)) for i in range(3))


def decision(candidates: Slate | tuple[Candidate, ...]) -> Decision:
    return Decision("id", 1.0, "m0", 1.0, candidates, {"x": "off"}, TaskProfile(), "balanced", "p", "b", "v")


def test_a_slate_makes_its_candidates_once_and_only_when_they_are_looked_at() -> None:
    calls: list[int] = []

    def make() -> tuple[Candidate, ...]:
        calls.append(1)
        return ROWS

    slate = Slate(make)
    made = decision(slate)
    assert not calls
    assert len(slate) == 3
    assert slate[0] is ROWS[0]
    assert slate[1:] == ROWS[1:]
    assert list(slate) == list(ROWS)
    assert made.action_dist == {"m0": 1.0, "m1": 0.0, "m2": 0.0}
    assert made.best is ROWS[0]
    assert calls == [1]


def test_a_slate_equals_the_same_candidates_and_nothing_else() -> None:
    slate = Slate(lambda: ROWS)
    assert slate == ROWS
    assert slate == ROWS
    assert slate == list(ROWS)
    assert hash(slate) == hash(ROWS)
    assert slate != ROWS[:2]
    assert slate != 5
    assert repr(slate) == repr(ROWS)


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_decision_with_a_slate_can_be_copied_and_sent(copied) -> None:
    made = decision(Slate(lambda: ROWS))
    assert copied(made) == made == decision(ROWS)


def test_events_become_json_with_every_field() -> None:
    made = decision(Slate(lambda: ROWS))
    for event in (made, Attempt("id", 0, 1.0, "m0", "p"), Feedback("id", 2.0, "thumbs", 1.0, meta={"a": [1]})):
        body = to_dict(event)
        assert body.pop("kind") == type(event).__name__.lower()
        assert body.pop("schema_version") == 1
        plain = asdict(decision(ROWS)) if event is made else asdict(event)
        assert json.loads(json.dumps(body)) == json.loads(json.dumps(plain))

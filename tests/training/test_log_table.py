"""Reading a log: joins, rules for untidy events, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_runtime.errors import DataError, NotSupported, TooManyBadRows
from router_runtime.records import Attempt, Candidate, Decision, Feedback, TaskProfile, uuid7
from router_runtime.stores.base import to_row
from router_runtime.stores.seal import seal
from router_runtime.stores.spool import Spool
from tests.training.table_examples import small_table
from training.event_log import EVENT_SCHEMA, events_table, sealed_files, write_events
from training.log_table import load_log
from training.ope.estimators import dr
from training.simulate import draw
from training.simulated_log import simulate
from training.simulated_world import SimulationSettings

TIME = 1_775_001_600.0


def candidate(model, probability, quality=0.5, cost=0.01):
    return Candidate(model, quality, 10.0, 20.0, cost, None, quality, probability)


def decision(name, chosen="a", probability=0.8, **changes):
    others = (candidate("a", probability), candidate("b", 1 - probability))
    made = Decision(
        id=name,
        time=TIME,
        chosen=chosen,
        propensity=probability if chosen == "a" else 1 - probability,
        candidates=others,
        filtered={},
        task=TaskProfile(domain="code"),
        policy="balanced",
        policy_version="1",
        bundle_version="none",
        price_version="1",
        prompt=f"prompt of {name}",
    )
    return replace(made, **changes)


def attempt(name, model="a", index=0, **changes):
    made = Attempt(name, index, TIME + index, model, "p", 200, None, 100, 50, cost_usd=0.001, latency_ms=900.0)
    return replace(made, **changes)


def thumbs(name, value, time=TIME + 60, **changes):
    return replace(Feedback(name, time, "thumbs", value, "user"), **changes)


def write(root, events, name="00000000-0000-7000-8000-000000000001", bodies=()):
    rows = [to_row(event, f"e{place}") for place, event in enumerate(events)]
    columns = {column: [getattr(row, column) for row in rows] for column in EVENT_SCHEMA.names}
    for place, (kind, body) in enumerate(bodies):
        for column, value in zip(EVENT_SCHEMA.names, (f"x{place}", kind, f"x{place}", TIME, body), strict=True):
            columns[column].append(value)
    write_events(root, events_table(columns), name)
    return root


def good(n=40):
    events = []
    for place in range(n):
        name = f"d{place:03d}"
        events += [decision(name), attempt(name), thumbs(name, place % 2)]
    return events


def test_a_decision_has_its_answer_its_label_and_its_distribution(tmp_path):
    log = load_log(write(tmp_path, good()))
    assert log.models == ["a", "b"]
    first = log.table.outcomes.iloc[1]
    assert (first["model"], first["quality"], first["cost_usd"], first["pscore"]) == ("a", 1.0, 0.001, 0.8)
    assert (first["input_tokens"], first["output_tokens"], first["latency_ms"]) == (100, 50, 900)
    assert log.table.prompts["text"][1] == "prompt of d001"
    assert log.table.prompts["domain"][1] == "code"
    np.testing.assert_allclose(log.action_dist, [[0.8, 0.2]] * 40)
    assert log.counts()["rows_seen"] == log.counts()["rows_used"] == 120


def test_the_latest_of_repeated_feedback_holds_and_unknown_is_counted(tmp_path):
    extra = [thumbs("d000", 1.0, TIME + 9e5), thumbs("d000", 0.0, TIME + 5), thumbs("nobody", 1.0)]
    log = load_log(write(tmp_path, good() + extra))
    assert log.table.outcomes["quality"][0] == 1.0
    assert log.table.report.skipped == {"feedback on an unknown decision": 1, "feedback that was repeated": 2}


def test_chosen_and_served_are_kept_apart(tmp_path):
    failed = attempt("d000", "a", 0, status=503, error="ServerError", billed=False, cost_usd=0.5)
    served = attempt("d000", "b", 1, cost_usd=0.002)
    events = [decision("d000"), failed, served, thumbs("d000", 1.0), *good()[3:]]
    log = load_log(write(tmp_path, events))
    row = log.table.outcomes.iloc[0]
    assert (row["model"], row["chosen"], row["pscore"], row["cost_usd"]) == ("b", "a", 0.8, 0.002)
    assert log.decisions["total_cost_usd"][0] == 0.002
    assert log.decisions["attempts"][0] == 2


def test_an_unanswered_decision_has_no_outcome(tmp_path):
    events = [decision("d000"), attempt("d000", error="Timeout", status=None), *good()[3:]]
    log = load_log(write(tmp_path, events))
    assert "d000" not in set(log.table.outcomes["prompt_id"])
    assert "d000" in set(log.table.prompts["prompt_id"])


def test_a_log_without_requests_is_refused(tmp_path):
    untold = [replace(event, prompt=None) if isinstance(event, Decision) else event for event in good()]
    with pytest.raises(NotSupported, match="keeps no requests"):
        load_log(write(tmp_path, untold))
    log = load_log(tmp_path, with_requests=False)
    assert log.labels.counts["labelled"] == 40
    assert log.table.prompts["group"].nunique() == 40
    with pytest.raises(NotSupported, match="40 of 40 decisions keep no request"):
        log.require_requests()


def test_where_some_keep_no_request_the_others_are_read_and_those_are_counted(tmp_path):
    untold = [replace(event, prompt=None) if isinstance(event, Decision) else event for event in good()]
    log = load_log(write(tmp_path, [*good()[:90], *untold[90:], thumbs("nobody", 1.0)])).require_requests()
    assert len(log.table.prompts) == len(log.table.outcomes) == log.labels.counts["labelled"] == 30
    report = log.table.report
    assert report.skipped == {
        "decision without its request (log_prompts: none)": 10,
        "feedback on a decision without its request": 10,
        "feedback on an unknown decision": 1,
    }
    assert report.seen == report.used + 20


def test_unlabelled_decisions_stay_with_weight_0(tmp_path):
    log = load_log(write(tmp_path, [*good(), decision("z"), attempt("z")]))
    last = log.table.outcomes.iloc[-1]
    assert np.isnan(last["quality"])
    assert last["weight"] == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (decision("x", propensity=0.0), "decision.propensity: is not in 0..1"),
        (decision("x", propensity=0.5), "decision.propensity: is not the probability of the chosen model"),
        (decision("x", candidates=()), "decision.candidates: are missing"),
        (decision("x", chosen="c"), "decision.chosen: is not among the candidates"),
        (decision("x", candidates=(candidate("a", 0.8),)), "decision.candidates: probabilities do not sum to 1"),
        (
            decision("x", candidates=(candidate("a", 0.8), candidate("b", 0.1), candidate("b", 0.1))),
            "decision.candidates: name a model twice",
        ),
        (
            decision("x", candidates=(candidate("a", 0.8), candidate("b", 0.1), candidate(None, 0.1))),
            "decision.candidates: one names no model",
        ),
        (attempt("d000", index=3, cost_usd=-1.0), "attempt.cost_usd: is not a finite number from 0"),
        (attempt("d000", index=3, input_tokens=-1), "attempt.tokens: are below 0"),
        (thumbs("d000", 1.5), "feedback.value: is not in 0..1"),
        (thumbs("d000", 0.5, source="ghost"), "feedback.source: is not user, judge, test or implicit"),
    ],
)
def test_a_malformed_event_is_rejected_with_its_place(tmp_path, bad, reason):
    log = load_log(write(tmp_path, [*good(), bad]))
    assert log.table.report.rejected == {reason: 1}
    (example,) = log.table.report.examples
    assert example.row >= 1
    assert example.file.endswith(".parquet")
    assert f"{example.field}: {example.reason}" == reason


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def members(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from members(one, (*path, key))


def replaced(value, path, odd):
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere_in_an_event_is_read_or_rejected(tmp_path, data):
    bodies = []
    for event in (decision("x"), attempt("x"), thumbs("x", 1.0)) * 8:
        body = json.loads(to_row(event, "r").body)
        place = data.draw(st.sampled_from(list(members(body))))
        bodies.append((body["kind"], json.dumps(replaced(body, place, data.draw(ODD)))))
    log = load_log(write(tmp_path / uuid7(), good(), bodies=bodies), max_bad_share=1.0)
    assert len(log.decisions) >= 40


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", "3", '{"chosen": 5}', '{"chosen":"a","candidates":{"a":1}}', "\x00"]
)
def test_a_body_of_another_shape_is_rejected(tmp_path, body):
    log = load_log(write(tmp_path, good(), bodies=[("decision", body)]))
    assert log.table.report.bad == 1
    assert len(log.decisions) == 40


def test_unknown_kinds_are_left_out_and_counted(tmp_path):
    log = load_log(write(tmp_path, good(), bodies=[("exposure", "{}")]))
    assert log.table.report.skipped == {"unknown kind of event": 1}


def test_too_many_bad_events_of_a_kind_stop_it(tmp_path):
    bad = [thumbs("d000", 2.0, metric=f"m{place}") for place in range(3)]
    with pytest.raises(TooManyBadRows, match=r"feedbacks: 3 of 43 rows are malformed"):
        load_log(write(tmp_path, good() + bad))
    assert load_log(tmp_path, max_bad_share=0.1).table.report.bad == 3


def test_events_that_come_twice_count_once(tmp_path):
    write(tmp_path, good())
    write(tmp_path, good(), name="00000000-0000-7000-8000-000000000002")
    log = load_log(tmp_path)
    assert len(log.decisions) == 40
    for kind in ("decision", "attempt", "feedback"):
        assert log.table.report.skipped[f"{kind} that came twice"] == 40
    assert (log.table.report.seen, log.table.report.used) == (240, 120)
    assert (log.labels.counts["seen"], log.labels.counts["superseded"]) == (40, 0)
    assert "feedback that was repeated" not in log.table.report.skipped
    assert (log.decisions["attempts"] == 1).all()


def test_open_spools_and_what_the_sealer_wrote_are_one_log(tmp_path):
    spool = Spool(tmp_path)
    spool.append([to_row(event, uuid7()) for event in good()])
    while_open = load_log(tmp_path)
    spool.close()
    assert seal(tmp_path).rows == 120
    assert sealed_files(tmp_path)
    sealed = load_log(tmp_path)
    assert while_open.table.outcomes.equals(sealed.table.outcomes)


def test_a_window_is_of_decisions_and_feedback_may_be_later(tmp_path):
    late = [decision("late", time=TIME + 86_400), attempt("late"), thumbs("d000", 1.0, TIME + 5e5)]
    write(tmp_path, good() + late)
    log = load_log(tmp_path, until=TIME + 1000)
    assert len(log.decisions) == 40
    assert log.table.outcomes["quality"][0] == 1.0
    assert load_log(tmp_path, since=TIME + 1000).decisions["decision_id"].tolist() == ["late"]
    with pytest.raises(DataError, match=r"from 2026-04-12T\S+; its sealed days are 2026-04-01 to 2026-04-06, so"):
        load_log(tmp_path, since=TIME + 1e6)


def test_no_log_and_broken_files_are_named(tmp_path):
    with pytest.raises(DataError, match="holds no log"):
        load_log(tmp_path)
    write(tmp_path, good())
    (tmp_path / "day=2026-04-02").mkdir()
    (tmp_path / "day=2026-04-02" / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"x\.parquet is not a readable Parquet file"):
        load_log(tmp_path)


def test_a_folder_with_a_quote_in_its_name_is_read(tmp_path):
    assert len(load_log(write(tmp_path / "it's", good())).decisions) == 40


@pytest.mark.parametrize("mode", ["full", "features"])
def test_a_simulated_log_supports_the_true_value(tmp_path, mode):
    table = small_table(60)
    options = SimulationSettings(policy="epsilon", epsilon=0.5, log_prompts=mode, days=2)
    truth = simulate(table, tmp_path, options, 3000, seed=3)
    log = load_log(tmp_path)
    drawn = draw(table, options, 3000, seed=3)
    np.testing.assert_allclose(np.nan_to_num(log.table.outcomes["quality"]), drawn.reward)
    logged = log.logged_decisions()
    np.testing.assert_allclose(logged.pscore, drawn.pscore)
    assert len(logged.features) == 3000
    uniform = np.full(logged.logging_dist.shape, 1 / 3)
    phi = dr(uniform, logged.bandit(logged.quality), logged.predicted_quality)
    assert abs(phi.mean() - truth["uniform"]["quality"]) < 4 * phi.std() / np.sqrt(3000)
    prices = log.table.models.set_index("model")["price_out_per_m"]
    assert prices["dear"] == pytest.approx(20, rel=1e-6)


def test_features_of_logged_text_are_those_of_logged_features(tmp_path):
    table = small_table(20)
    for mode in ("full", "features"):
        simulate(table, tmp_path / mode, SimulationSettings(log_prompts=mode), 100, seed=1)
    full, bare = (load_log(tmp_path / mode) for mode in ("full", "features"))
    np.testing.assert_array_equal(full.features.code, bare.features.code)
    for member in ("ids", "offsets", "structural"):
        np.testing.assert_array_equal(getattr(full.features.distinct, member), getattr(bare.features.distinct, member))
    assert full.table.prompts["group"].equals(bare.table.prompts["group"])
    assert full.table.prompts["text"].iloc[0]
    assert set(bare.table.prompts["text"]) == {""}

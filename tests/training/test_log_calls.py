"""What a decision cost, where attempts say nothing of it: priced or left out, never free."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from router_runtime.gateway.ui_log import opened
from tests.training.report.conftest import simulated
from tests.training.test_log_table import attempt, decision, good, write
from training.event_log import sealed_files
from training.log_calls import PRICED, UNKNOWN
from training.log_table import load_log
from training.report.facts import Question, gather
from training.report.reading import read_report_log
from training.report.sections import health_sections

PAID = [(1000, 100), (200, 900), (3000, 10), (50, 50)]


def priced():
    """Answers of the model ``a`` that cost 2 and 8 USD per million tokens."""
    for place, (given, made) in enumerate(PAID):
        name, cost = f"p{place}", (given * 2 + made * 8) / 1e6
        yield from (decision(name), attempt(name, input_tokens=given, output_tokens=made, cost_usd=cost))


def cost_of(tmp_path, *attempts):
    name = attempts[0].decision_id
    log = load_log(write(tmp_path, [*priced(), decision(name), *attempts]))
    (cost,) = log.decisions.loc[log.decisions["decision_id"] == name, "total_cost_usd"]
    return cost, dict(log.table.report.filled)


def test_an_attempt_without_a_cost_is_priced_by_its_tokens(tmp_path):
    cost, filled = cost_of(tmp_path, attempt("x", cost_usd=None, input_tokens=500, output_tokens=500))
    assert cost == pytest.approx(0.005)
    assert filled == {PRICED: 1}


@pytest.mark.parametrize("lost", [{"cost_usd": None}, {"cost_usd": 0.0}])
def test_one_without_tokens_makes_the_cost_of_its_decision_unknown(tmp_path, lost):
    broken = attempt("x", error="StreamBroken", input_tokens=None, output_tokens=None, **lost)
    cost, filled = cost_of(tmp_path, broken, attempt("x", index=1, cost_usd=0.002))
    assert np.isnan(cost)
    assert filled == {UNKNOWN: 1}


def test_a_model_that_nobody_paid_for_has_no_price(tmp_path):
    cost, filled = cost_of(tmp_path, attempt("x", model="b", cost_usd=None))
    assert np.isnan(cost)
    assert filled == {UNKNOWN: 1}


def test_what_is_free_is_free_and_what_is_not_billed_does_not_count(tmp_path):
    unbilled = attempt("x", cost_usd=None, billed=False, error="ServerError", input_tokens=None)
    free = attempt("x", index=1, model="b", cost_usd=0.0, input_tokens=None, output_tokens=None)
    assert cost_of(tmp_path, unbilled, free) == (0.0, {})


def without_costs(folder, arm):
    """Takes cost and tokens from every second attempt of an arm."""
    rows = [(path, pq.ParquetFile(path).read()) for path in sealed_files(folder)]
    of_arm = set()
    for _, table in rows:
        for key, kind, body in zip(*(table[name].to_pylist() for name in ("decision_id", "kind", "body")), strict=True):
            if kind == "decision" and json.loads(body)["arm"] == arm:
                of_arm.add(key)
    lost = set(sorted(of_arm)[::2])
    for path, table in rows:
        bodies = []
        for key, kind, body in zip(*(table[name].to_pylist() for name in ("decision_id", "kind", "body")), strict=True):
            gone = {"cost_usd": None, "input_tokens": None, "output_tokens": None}
            bodies.append(json.dumps(json.loads(body) | gone) if kind == "attempt" and key in lost else body)
        changed = table.set_column(table.schema.get_field_index("body"), table.schema.field("body"), pa.array(bodies))
        pq.write_table(changed, path)
    return len(lost)


def test_answers_of_unknown_cost_save_nothing(tmp_path):
    truth = simulated(tmp_path, 3000, 4, holdout_model="dear", holdout_share=0.3)
    lost = without_costs(tmp_path, "holdout/router")
    facts = gather(read_report_log(tmp_path), Question())
    found = facts["comparison"]["savings"]["share"]
    true = 1 - truth["policy_value"]["cost_usd"] / truth["single_models"]["dear"]["cost_usd"]
    assert found["low"] <= true <= found["high"]
    assert facts["health"]["without_cost"] == lost
    assert f"What {lost:,} answered decisions cost is not known" in health_sections(facts)[0].lines[0]


def test_nor_do_they_on_the_dashboard(tmp_path):
    write(tmp_path, [*good(2), decision("x"), attempt("x", cost_usd=0.004), attempt("x", index=1, cost_usd=None)])
    with opened(tmp_path, 0.0) as db:
        found = db.execute("SELECT count(cost), sum(cost), sum(spent) FROM whole").fetchone()
    assert found == pytest.approx((2, 0.002, 0.006))

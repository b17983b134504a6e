"""Which prompts and models are measured, and that what was left out is counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from router_runtime.errors import DataError, TooFewRows
from tests.training.table_examples import small_table
from training.held_out import filled_cost, held_out, select_pool


def without(table, mask):
    return type(table)(table.prompts, table.outcomes[~mask].reset_index(drop=True), table.models, table.name)


def test_complete_table_is_used_whole():
    table = small_table(40)
    held = held_out(table)
    assert held.counts["prompts_used"] == 40
    assert held.truth.models == ("cheap", "middle", "dear")
    assert held.truth.quality == pytest.approx(table.matrix("quality"))


def test_core_pool_is_the_default_where_marked():
    table = small_table(40)
    table.models["core_pool"] = [True, False, True]
    assert select_pool(table).model_names == ["cheap", "dear"]
    assert select_pool(table, "all").model_names == ["cheap", "middle", "dear"]
    table.models["core_pool"] = [False, False, True]
    assert len(select_pool(table).model_names) == 3


def test_a_model_that_most_prompts_lack_is_dropped_before_prompts_are():
    table = small_table(40)
    ids = table.prompts["prompt_id"]
    lacking = (table.outcomes["model"] == "middle") & table.outcomes["prompt_id"].isin(ids[10:])
    lone = (table.outcomes["model"] == "dear") & (table.outcomes["prompt_id"] == ids[0])
    held = held_out(without(table, lacking | lone))
    assert held.counts["models_dropped"] == ["middle"]
    assert held.counts["prompts_used"] == 39
    assert held.counts["prompts_incomplete"] == 1


def test_a_null_cost_is_tokens_times_price():
    table = small_table(20)
    expected = table.matrix("cost_usd")
    table.outcomes["cost_usd"] = np.nan
    assert filled_cost(table) == pytest.approx(expected)


def test_too_little_is_an_error_that_says_so():
    with pytest.raises(TooFewRows, match="5 prompts with outcomes of 3 models"):
        held_out(small_table(5))


def test_quality_outside_its_range_is_an_error():
    table = small_table(20)
    table.outcomes.loc[0, "quality"] = 1.5
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        held_out(table)


def test_missing_task_is_unknown():
    table = small_table(20)
    table.prompts["task"] = pd.Series([None] * 20, dtype=object)
    assert set(held_out(table).truth.tasks) == {"unknown"}

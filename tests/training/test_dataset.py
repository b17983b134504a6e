"""Tables: every row is checked, and what is left out is counted."""

import numpy as np
import pandas as pd
import pytest

from router_runtime.errors import DataError, TooManyBadRows
from tests.training.table_examples import small_table
from training.dataset import checked_table, load_table, save_table


def checked(table, **bounds):
    return checked_table(
        table.prompts, table.outcomes, table.models, name="t", source="there", **{"max_bad_share": 0.05, **bounds}
    )


def spoilt(column, value, rows=1):
    table = small_table(100)
    outcomes = table.outcomes.astype({column: object})
    outcomes.loc[: rows - 1, column] = value
    return checked_table(table.prompts, outcomes, table.models, name="t", source="there")


def test_a_saved_table_is_read_as_it_was(tmp_path):
    table = small_table(50)
    back = load_table(save_table(table, tmp_path / "example"))
    assert back.name == "example"
    assert back.report.counts() == {"rows_seen": 150, "rows_used": 150}
    for column in ("quality", "cost_usd", "output_tokens"):
        np.testing.assert_array_equal(back.matrix(column), table.matrix(column))
    pd.testing.assert_frame_equal(back.prompts, table.prompts, check_dtype=False)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("quality", 1.5, "quality: is not in 0..1"),
        ("quality", -0.1, "quality: is not in 0..1"),
        ("quality", "good", "quality: is not a number"),
        ("cost_usd", -1.0, "cost_usd: is below 0"),
        ("cost_usd", np.inf, "cost_usd: is not finite"),
        ("input_tokens", -1, "input_tokens: is below 0"),
        ("output_tokens", "many", "output_tokens: is not a number"),
        ("latency_ms", -5.0, "latency_ms: is below 0"),
        ("model", "nobody", "model: is not among the models"),
        ("prompt_id", "p-none", "prompt_id: is not among the prompts"),
        ("prompt_id", None, "prompt_id: is missing"),
    ],
)
def test_a_malformed_row_is_rejected_with_its_place_and_the_rest_goes_on(column, value, reason):
    table = spoilt(column, value)
    assert table.report.rejected == {reason: 1}
    assert len(table.outcomes) == 299
    (example,) = table.report.examples
    assert (example.file, example.row, example.field) == ("outcomes", 1, column)


def test_too_many_bad_rows_stop_it():
    with pytest.raises(TooManyBadRows, match=r"16 of 300 rows are malformed, more than 5.0%.*row 1, field 'quality'"):
        spoilt("quality", 7, rows=16)
    assert spoilt("quality", 7, rows=15).report.bad == 15


def test_a_missing_cost_is_tokens_times_price_and_counted():
    table = small_table(10)
    expected = table.matrix("cost_usd")
    outcomes = table.outcomes.assign(cost_usd=np.nan)
    found = checked_table(table.prompts, outcomes, table.models, name="t", source="there")
    np.testing.assert_allclose(found.matrix("cost_usd"), expected)
    assert found.report.filled == {"cost_usd from tokens × price": 30}


def test_a_cost_that_nothing_tells_stays_unknown_and_counted():
    table = small_table(10)
    outcomes = table.outcomes.assign(cost_usd=np.nan, output_tokens=np.nan)
    found = checked_table(table.prompts, outcomes, table.models, name="t", source="there")
    assert np.isnan(found.matrix("cost_usd")).all()
    assert found.report.filled == {"cost_usd unknown": 30}


def test_outcomes_of_a_pair_are_averaged_and_equal_ones_count_as_often_as_they_come():
    table = small_table(10)
    first = table.outcomes.iloc[[0]].assign(quality=1.0)
    rest = [first, first, first.assign(quality=0.0)]
    outcomes = pd.concat([first, table.outcomes.iloc[1:], *rest], ignore_index=True)
    found = checked_table(table.prompts, outcomes, table.models, name="t", source="there")
    assert found.report.skipped == {"averaged with another outcome of the same pair": 3}
    assert found.matrix("quality")[0, 0] == 0.75
    assert found.report.used == len(found.outcomes) == 30


def test_another_text_under_the_same_id_is_rejected_with_the_outcomes_of_that_id():
    table = small_table(100)
    prompts = pd.concat([table.prompts, table.prompts.iloc[[0]].assign(text="other"), table.prompts.iloc[[1]]])
    found = checked_table(prompts, table.outcomes, table.models, name="t", source="there")
    assert found.prompts["text"].tolist() == table.prompts["text"].tolist()
    assert np.isnan(found.matrix("quality")[0]).all()
    assert found.report.rejected == {
        "prompt_id: stands for several texts": 3,
        "prompts.prompt_id: stands for another text already": 1,
    }


def test_ids_that_pandas_made_floats_of_are_the_same_ids():
    table = small_table(50)
    number = {name: place for place, name in enumerate(table.prompts["prompt_id"])}
    prompts = table.prompts.assign(prompt_id=table.prompts["prompt_id"].map(number))
    outcomes = table.outcomes.assign(prompt_id=table.outcomes["prompt_id"].map(number).astype(float))
    outcomes.loc[0, "prompt_id"] = np.nan
    found = checked_table(prompts, outcomes, table.models, name="t", source="there")
    assert found.report.counts() == {"rows_seen": 150, "rows_used": 149, "rejected.prompt_id: is missing": 1}


def test_labels_and_groups_may_be_missing():
    table = small_table(20)
    prompts = table.prompts[["prompt_id", "text"]].assign(text=["Add 3 and 4.", "add 5 and 9"] * 10)
    outcomes = table.outcomes.drop(columns="latency_ms")
    found = checked_table(prompts, outcomes, table.models.drop(columns="core_pool"), name="t", source="there")
    assert set(found.prompts["task"]) == {"unknown"}
    assert found.prompts["group"].nunique() == 1
    assert found.models["core_pool"].all()
    assert found.outcomes["latency_ms"].isna().all()


def test_empty_parts_are_errors():
    table = small_table(10)
    with pytest.raises(DataError, match="outcomes holds no rows"):
        checked_table(table.prompts, table.outcomes.iloc[:0], table.models, name="t", source="there")
    with pytest.raises(DataError, match="models holds no rows"):
        checked_table(table.prompts, table.outcomes, table.models.iloc[:0], name="t", source="there")


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=r"prompts\.parquet is missing"):
        load_table(tmp_path)
    folder = save_table(small_table(5), tmp_path / "t")
    pd.read_parquet(folder / "outcomes.parquet").drop(columns="quality").to_parquet(folder / "outcomes.parquet")
    with pytest.raises(DataError, match="lacks the column 'quality'"):
        load_table(folder)
    (folder / "outcomes.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        load_table(folder)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["bfcl", "llmrouter", "mmlu_pro", "routellm", "zeroeval"])
def test_the_real_tables_have_no_bad_row(shared_data, name):
    table = load_table(shared_data / name)
    assert table.report.bad == 0
    assert table.report.used == table.report.seen > 0

"""Importers, on small files of the public shapes; whatever a file holds, it gives a table or an error of the tree."""

import csv
import json
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_runtime.errors import ConfigError, DataError, PointsmanError, TooManyBadRows
from training.dataset import Table, load_table, save_table
from training.importers import KINDS, import_file
from training.importers.mapping import ColumnMapping, parse_mapping


def spend(place, **changes):
    return {
        "request_id": f"chatcmpl-{place}",
        "call_type": "acompletion",
        "api_key": "hashed",
        "spend": 0.0012,
        "total_tokens": 150,
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "startTime": "2026-04-01T10:00:00.000Z",
        "endTime": "2026-04-01T10:00:01.500Z",
        "completionStartTime": "2026-04-01T10:00:00.400Z",
        "model": "openai/gpt-x-2026",
        "model_id": "",
        "model_group": "gpt-x" if place % 2 else "small",
        "custom_llm_provider": "openai",
        "api_base": "https://api.openai.com",
        "user": "u1",
        "metadata": {"quality": 0.75, "user_api_key_alias": None},
        "cache_hit": "False",
        "cache_key": "off",
        "request_tags": ["task:code", "User-Agent: x"],
        "team_id": None,
        "end_user": "",
        "requester_ip_address": None,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Question {place} äöü"}],
        "response": {"choices": []},
        "session_id": f"s{place // 3}",
        "status": "success",
        "proxy_server_request": {},
        **changes,
    }


def write(path, rows):
    """Writes rows as the extension says, objects in CSV as JSON text."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                writer.writerow({k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in row.items()})
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_litellm_spend_logs(tmp_path, suffix):
    rows = [spend(place) for place in range(30)]
    rows += [spend(30, call_type="aembedding"), spend(31, cache_hit="True"), spend(32, status="failure")]
    rows += [spend(33, messages={})]
    table = import_file("litellm", write(tmp_path / f"spend{suffix}", rows))
    assert table.model_names == ["gpt-x", "small"]
    assert table.prompts["text"][0] == "Be brief.\nQuestion 0 äöü"
    assert table.prompts["session"][4] == "s1"
    assert table.prompts["time"][0] == 1775037600.0
    assert set(table.prompts["task"]) == {"code"}
    first = table.outcomes.iloc[0]
    assert (first["quality"], first["cost_usd"], first["latency_ms"]) == (0.75, 0.0012, 1500)
    assert (first["input_tokens"], first["output_tokens"]) == (100, 50)
    assert table.report.skipped == {
        "not a chat call": 1,
        "answered from the cache": 1,
        "the call failed": 1,
        "no prompt was stored (store_prompts_in_spend_logs)": 1,
    }
    assert (table.report.seen, table.report.used) == (34, 30)


def test_litellm_prompts_in_the_proxy_request_and_thumbs_by_a_mapping(tmp_path):
    request = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}
    rows = [
        spend(0, messages={}, proxy_server_request=request, metadata={"thumb": "up"}),
        spend(1, messages="", proxy_server_request={"input": "plain"}, metadata={"thumb": -1}),
        spend(2, metadata={}),
    ]
    mapping = tmp_path / "m.yaml"
    mapping.write_text("quality: {column: metadata.thumb, scale: thumbs}\n")
    table = import_file("litellm", write(tmp_path / "spend.json", rows), mapping)
    assert table.prompts["text"].tolist()[:2] == ["hello", "plain"]
    np.testing.assert_array_equal(table.outcomes["quality"], [1.0, 0.0, np.nan])


def test_a_call_for_nothing_of_a_model_that_costs_is_priced_and_a_free_model_stays_free(tmp_path):
    sizes = [(100, 50), (900, 10), (20, 400), (10, 10)]
    rows = [
        spend(2 * place + 1, prompt_tokens=given, completion_tokens=made, spend=(given * 2 + made * 8) / 1e6)
        for place, (given, made) in enumerate(sizes)
    ]
    rows += [spend(101, spend=0.0), spend(103, spend=0, prompt_tokens=0, completion_tokens=0)]
    rows += [spend(2 * place, spend=0.0) for place in range(5)]
    table = import_file("litellm", write(tmp_path / "spend.jsonl", rows))
    cost = table.outcomes.set_index("prompt_id")["cost_usd"]
    assert cost["chatcmpl-101"] == pytest.approx(0.0006)
    assert cost[["chatcmpl-103", "chatcmpl-0", "chatcmpl-8"]].tolist() == [0, 0, 0]
    assert table.report.filled == {"cost_usd from tokens × price": 1}


def test_litellm_bad_rows_are_named(tmp_path):
    rows = [spend(place) for place in range(50)]
    rows[7] = spend(7, spend=-1)
    rows[9] = spend(9, endTime="2026-04-01T09:00:00Z")
    table = import_file("litellm", write(tmp_path / "spend.jsonl", rows))
    assert table.report.rejected == {"spend: is below 0": 1, "endTime: is before startTime": 1}
    assert str(table.report.examples[0]) == "spend.jsonl, row 8, field 'spend': is below 0"
    rows[11] = spend(11, prompt_tokens="many")
    with pytest.raises(TooManyBadRows, match="3 of 50 rows"):
        import_file("litellm", write(tmp_path / "spend.jsonl", rows))


def bench(place):
    return {
        "sample_id": f"mmlu-anatomy.val.{place}",
        "prompt": f"['Which bone is number {place}?\\nA) one']",
        "eval_name": "mmlu-anatomy",
        "gpt-4-1106-preview": 1.0,
        "mistral/small": 0.25 if place else None,
        "gpt-4-1106-preview|model_response": "['A']",
        "mistral/small|model_response": "['B']",
        "gpt-4-1106-preview|total_cost": 0.002,
        "mistral/small|total_cost": 0.0001,
        "oracle_model_to_route_to": "mistral/small",
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_routerbench_wide_table(tmp_path, suffix):
    rows = [bench(place) for place in range(40)]
    table = import_file("routerbench", write(tmp_path / f"rb{suffix}", rows))
    assert table.model_names == ["gpt-4-1106-preview", "mistral/small"]
    assert table.prompts["text"][1] == "Which bone is number 1?\nA) one"
    assert table.prompts["task"][0] == "mmlu-anatomy"
    assert table.prompts["domain"][0] == "mmlu"
    assert len(table.outcomes) == 79
    np.testing.assert_array_equal(table.matrix("quality")[:2], [[1, np.nan], [1, 0.25]])
    assert table.matrix("cost_usd")[1].tolist() == [0.002, 0.0001]


@pytest.mark.parametrize("name", ["routerbench_0shot.pkl", "x.pickle"])
def test_a_pickle_is_refused_unopened_with_the_way_out(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "owned") + b"'\ntR.")
    with pytest.raises(DataError, match=r"is a pickle.*to_parquet"):
        import_file("routerbench", path)
    assert not (tmp_path / "owned").exists()


def sprout(place):
    def answer(score):
        return {"response": "…", "score": score, "num_input_tokens": 20, "num_output_tokens": 100 + place, "judge": "x"}

    return {
        "key": str(place),
        "dataset": "openhermes" if place % 2 else "math",
        "dataset_level": "",
        "dataset_idx": place,
        "prompt": f"Tell me about {place}",
        "golden_answer": "42",
        "openai-gpt-4o": answer(1.0),
        "wxai-llama-3-2-1b-instruct": answer(None if place == 3 else 0.5),
    }


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_sprout_structs(tmp_path, suffix):
    mapping = tmp_path / "prices.yaml"
    mapping.write_text("prices:\n  openai-gpt-4o: {input: 2.5, output: 10}\n")
    table = import_file("sprout", write(tmp_path / f"sprout{suffix}", [sprout(p) for p in range(10)]), mapping)
    assert table.model_names == ["openai-gpt-4o", "wxai-llama-3-2-1b-instruct"]
    assert table.prompts["task"].tolist()[:2] == ["math", "openhermes"]
    assert len(table.outcomes) == 19
    np.testing.assert_allclose(table.matrix("cost_usd")[0], [(20 * 2.5 + 100 * 10) / 1e6, np.nan])
    assert table.report.filled == {"cost_usd from tokens × price": 10, "cost_usd unknown": 9}


MAPPING = """
prompt: conversation
model: llm
quality: {column: rating.stars, scale: stars}
cost_usd: {column: cents, unit: cents}
latency_ms: {column: took, unit: s}
input_tokens: tin
output_tokens: tout
prompt_id: id
task: label
session: chat
time: at
pscore: p
"""


def row(place, **changes):
    return {
        "conversation": json.dumps([{"role": "user", "content": f"say {place} in words"}]),
        "llm": "m1" if place % 2 else "m2",
        "rating": json.dumps({"stars": 1 + place % 5}),
        "cents": 0.2,
        "took": 1.25,
        "tin": 10,
        "tout": 20,
        "id": f"i{place}",
        "label": "chat",
        "chat": "c1",
        "at": 1_775_001_600_000,
        "p": 0.5,
        **changes,
    }


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_a_mapping_converts_units(tmp_path, suffix):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(MAPPING)
    table = import_file("mapped", write(tmp_path / f"mine{suffix}", [row(p) for p in range(10)]), mapping)
    assert table.prompts["text"][3] == "say 3 in words"
    assert table.prompts["time"][0] == 1_775_001_600.0
    np.testing.assert_allclose(table.outcomes["quality"][:5], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(table.outcomes["cost_usd"], 0.002)
    assert set(table.outcomes["latency_ms"]) == {1250.0}
    assert set(table.outcomes["pscore"]) == {0.5}
    assert load_table(save_table(table, tmp_path / "saved")).matrix("quality").shape == (10, 2)


@pytest.mark.parametrize(
    ("scale", "values", "expected"),
    [
        ("unit", [0, 0.5, "1"], [0, 0.5, 1]),
        ("percent", [0, 50, 100], [0, 0.5, 1]),
        ("thumbs", [-1, "up", "👎"], [0, 1, 0]),
        ("{low: 0, high: 10}", [0, 5, 10], [0, 0.5, 1]),
        ("unit", [True, False, None], [1, 0, np.nan]),
    ],
)
def test_scales(tmp_path, scale, values, expected):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(f"quality: {{column: q, scale: {scale}}}\nmodel: {{value: one}}\n")
    rows = [{"prompt": f"text {place}", "q": value} for place, value in enumerate(values)]
    table = import_file("mapped", write(tmp_path / "x.jsonl", rows), mapping)
    assert table.model_names == ["one"]
    np.testing.assert_array_equal(table.outcomes["quality"], expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rating": "{}", "cents": "x"}, "cents: is not a number"),
        ({"rating": '{"stars": 6}'}, "rating.stars: is not in 1..5"),
        ({"p": 1.5}, "p: is not in 0..1"),
        ({"at": "yesterday"}, "at: is not a time in ISO 8601"),
        ({"conversation": ""}, "conversation: is missing"),
        ({"conversation": '[{"role": "user", "content": 5}]'}, "conversation: holds no messages with role and content"),
        ({"llm": None}, "llm: is missing"),
        ({"tin": float("nan")}, "tin: is not finite"),
        ({"tout": "1e999"}, "tout: is not finite"),
    ],
)
def test_each_bad_field_is_named(tmp_path, change, reason):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(MAPPING)
    rows = [row(place) for place in range(30)]
    rows[4] = row(4, **change)
    table = import_file("mapped", write(tmp_path / "x.jsonl", rows), mapping)
    assert table.report.rejected == {reason: 1}
    assert table.report.examples[0].row == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("promt: x", r"m\.yaml:1: unknown key 'promt'.*did you mean 'prompt'"),
        ("quality: {column: q, scale: star}", r"did you mean 'stars'"),
        ("cost_usd: {column: c, unit: euro}", r"it is one of usd, cents, microdollars"),
        ("quality: {column: q, scale: {low: 3, high: 1}}", r"low must be below high"),
        ("prices: {m: {input: -1, output: 2}}", r"prices\.m\.input is -1"),
        ("", r"the file is empty"),
        ("- a", r"must be a mapping"),
    ],
)
def test_a_mapping_that_is_not_valid_is_refused_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_mapping(text.encode(), "m.yaml")


def test_a_quote_that_is_not_closed_stops_the_file_with_its_place(tmp_path):
    mapping = tmp_path / "map.yaml"
    mapping.write_text("{prompt: q, model: m, quality: s}")
    lines = ["q,m,s", *(f"question {n},m{n % 2},1" for n in range(50))]
    lines[20] = 'question 19,"m1,1'
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"not CSV after line 20 .*a quote not closed"):
        import_file("mapped", tmp_path / "mine.csv", mapping)


def test_a_row_of_another_text_under_a_known_id_is_rejected_with_its_outcome(tmp_path):
    mapping = tmp_path / "map.yaml"
    mapping.write_text("{prompt: q, model: m, quality: s, prompt_id: id}")
    rows = [{"q": f"question {n}", "m": f"m{n % 2}", "s": 1, "id": n // 2} for n in range(60)]
    for place in (3, 5):
        rows[place]["s"] = 0
    texts = [{**row, "q": f"question {row['id']}"} for row in rows]
    texts[3]["q"] = "another question"
    table = import_file("mapped", write(tmp_path / "mine.jsonl", texts), mapping)
    assert table.report.rejected == {"prompt_id: stands for another text already": 1}
    assert np.isnan(table.matrix("quality")[1, 1])
    assert table.matrix("quality")[2, 1] == 0


def test_wrong_kinds_and_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="kind 'csv' is unknown"):
        import_file("csv", tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="needs a column mapping"):
        import_file("mapped", tmp_path / "x.csv")
    with pytest.raises(DataError, match="is missing"):
        import_file("litellm", tmp_path / "x.csv")
    with pytest.raises(DataError, match="no known extension"):
        import_file("litellm", tmp_path / "x.xlsx")
    (tmp_path / "e.csv").write_text("")
    with pytest.raises(DataError, match="holds no rows"):
        import_file("litellm", tmp_path / "e.csv")
    (tmp_path / "e.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="is not JSON"):
        import_file("litellm", tmp_path / "e.json")


def test_a_log_with_nothing_to_learn_from_says_why(tmp_path):
    path = write(tmp_path / "spend.json", [spend(place, messages={}) for place in range(5)])
    with pytest.raises(DataError, match=r"none of its 5 rows is usable.*store_prompts_in_spend_logs"):
        import_file("litellm", path)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({*spend(0), *bench(0), *sprout(0), *row(0), "a|total_cost", "a"})
QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(kind, path, mapping):
    try:
        return import_file(kind, path, mapping, max_bad_share=1.0)
    except PointsmanError as error:
        return error


def check(kind, path, mapping):
    found = outcome(kind, path, mapping)
    assert isinstance(found, Table) or "\n" not in str(found)


@pytest.mark.parametrize("kind", KINDS)
@given(rows=st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=12), max_size=4))
@QUIET
def test_any_rows_give_a_table_or_an_error_of_the_tree(tmp_path, kind, rows):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(MAPPING)
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in rows))
    check(kind, path, mapping)


@pytest.mark.parametrize("kind", KINDS)
@given(change=st.dictionaries(st.sampled_from(NAMES), JSON, min_size=1, max_size=2))
@QUIET
def test_a_good_row_with_any_field_changed_gives_a_table_or_an_error_of_the_tree(tmp_path, kind, change):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(MAPPING)
    good = {"litellm": spend(1), "routerbench": bench(1), "sprout": sprout(1), "mapped": row(1)}[kind]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (good, {**good, **change})))
    check(kind, path, mapping)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
@given(data=st.binary(max_size=200))
@QUIET
def test_any_bytes_give_an_error_of_the_tree(tmp_path, suffix, data):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    assert isinstance(outcome("litellm", path, None), DataError)


@given(data=st.binary(max_size=120) | st.text(alphabet="pricesqualty: {}[]&*!|>'\"-\n01", max_size=80).map(str.encode))
@QUIET
def test_any_mapping_is_read_or_refused(data):
    with suppress(ConfigError):
        assert isinstance(parse_mapping(data, "m.yaml"), ColumnMapping)

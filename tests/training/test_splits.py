"""Splits keep near-duplicates together and are of nearly equal size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.errors import TooFewRows
from training.dataset import load_table
from training.near_duplicates import near_duplicate_groups
from training.splits import grouped_folds, leave_one_out, time_split

LONG = (
    "The council will rebuild the tram line in three stages and shops along the way get help from the city fund, "
    "while buses take another road past the old market until the bridge has been made strong enough for new cars"
)


@given(
    st.lists(st.integers(0, 30), min_size=10, max_size=200).filter(lambda g: len(set(g)) >= 5),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_a_group_is_in_one_fold_and_folds_are_balanced(groups, folds, seed):
    found = grouped_folds(np.array(groups), folds, seed)
    by_group = {}
    for group, fold in zip(groups, found, strict=True):
        assert by_group.setdefault(group, fold) == fold
    sizes = np.bincount(found, minlength=folds)
    largest = max(groups.count(g) for g in set(groups))
    assert sizes.max() - sizes.min() <= largest


def test_folds_depend_on_the_seed_alone():
    groups = np.array([f"g{i // 3}" for i in range(300)])
    assert (grouped_folds(groups, 5, 1) == grouped_folds(groups, 5, 1)).all()
    assert (grouped_folds(groups, 5, 1) != grouped_folds(groups, 5, 2)).any()


def test_more_folds_than_groups_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        grouped_folds(np.array(["a", "b", "c", "c"]), 1, 0)
    with pytest.raises(TooFewRows, match="3 groups of near-duplicates, too few for 4 folds: 1 more"):
        grouped_folds(np.array(["a", "b", "c", "c"]), 4, 0)


def test_the_latest_rows_are_tested_on():
    times = np.array([5.0, 1, 4, 2, 3, 5, 5, 0, 1, 2])
    learn, test = time_split(times, 0.3)
    assert (learn ^ test).all()
    assert times[learn].max() < times[test].min()
    assert test.sum() == 3


def test_each_domain_is_left_out_once():
    labels = np.array(["math", "code", "math", "chat"])
    found = dict(leave_one_out(labels))
    assert sorted(found) == ["chat", "code", "math"]
    assert found["math"].tolist() == [True, False, True, False]
    assert [name for name, _ in leave_one_out(labels, min_rows=2)] == ["math"]


def test_siblings_of_a_template_and_near_copies_share_a_group():
    texts = [
        "Add 3 and 4.",
        "add 17 and 9",
        "Multiply 3 and 4.",
        LONG,
        LONG + " next year",
        LONG.replace("tram", "bus") + " soon",
        "something else entirely, about whales and ships",
        "",
        "!!!",
        "你好，请推荐一个菜",
        "你好，请推荐一个菜！",
    ]
    group = near_duplicate_groups(texts)
    assert group[0] == group[1] != group[2]
    assert group[3] == group[4]
    assert group[3] != group[6]
    assert group[9] == group[10]
    assert len({group[0], group[2], group[3], group[6], group[7], group[8], group[9]}) == 7


def test_groups_do_not_depend_on_the_order():
    texts = [f"{LONG} {word}" for word in ("a", "b", "c")] + [f"question {i} about {'xyz'[i % 3]}" for i in range(30)]
    forward = near_duplicate_groups(texts)
    backward = near_duplicate_groups(texts[::-1])[::-1]
    assert forward == backward


@given(st.lists(st.text(max_size=60), max_size=20))
def test_any_text_gets_a_group_and_equal_texts_the_same(texts):
    groups = near_duplicate_groups([*texts, *texts])
    assert groups[: len(texts)] == groups[len(texts) :]


def test_a_lone_surrogate_is_a_text_like_others():
    assert len(near_duplicate_groups(["\ud800 a", "b"])) == 2


@pytest.mark.realdata
def test_our_groups_are_near_those_of_the_real_tables(shared_data):
    table = load_table(shared_data / "zeroeval")
    ours = near_duplicate_groups([str(text) for text in table.prompts["text"]])
    theirs = table.prompts["group"].nunique()
    assert 0.85 * theirs <= len(set(ours)) <= theirs

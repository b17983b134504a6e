"""Groups are of what was asked, not of a frame that many requests share."""

from pathlib import Path

import numpy as np
import pytest

from training.dataset import load_table
from training.feature_matrix import featurise
from training.near_duplicates import id_groups, near_duplicate_groups
from training.splits import grouped_folds

SAMPLE = load_table(Path(__file__).resolve().parents[2] / "data" / "sample").prompts["text"].tolist()[:300]
WORDS = [f"rule{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]


def system(words, seed=0):
    return " ".join(np.random.default_rng(seed).permutation(WORDS)[:words])


def of_texts(texts):
    return near_duplicate_groups(texts)


def of_ids(texts):
    found = featurise(texts)
    return id_groups(found.ids, found.offsets)


def sizes(groups):
    return np.unique(groups, return_counts=True)[1]


@pytest.mark.parametrize("groups_of", [of_texts, of_ids])
@pytest.mark.parametrize("words", [60, 400, 3000])  # the longest is cut before the question
def test_one_long_system_prompt_makes_no_group(groups_of, words):
    frame = (system(600) + " ") * (words // 600) or system(words)
    alone = sizes(groups_of(SAMPLE))
    framed = groups_of([f"{frame}\n{text}" for text in SAMPLE])
    assert len(set(framed)) > 0.8 * len(alone)
    assert sizes(framed).max() <= max(20, 2 * alone.max())
    grouped_folds(np.array(framed), 5, 0)


@pytest.mark.parametrize("groups_of", [of_texts, of_ids])
def test_nor_do_those_of_several_applications(groups_of):
    frames = [system(300), system(300).replace("rulea", "other"), system(500, 1)]
    framed = groups_of([f"{frames[place % 3]}\n{text}" for place, text in enumerate(SAMPLE)])
    assert sizes(framed).max() <= 20


@pytest.mark.parametrize("groups_of", [of_texts, of_ids])
def test_near_copies_of_a_question_below_it_share_a_group(groups_of):
    asked = "Please write a short story about a river that forgets its own name and meets a bridge at night in winter, "
    asked += "tell it in the voice of an old ferryman who has never learnt to swim, and let it end before dawn"
    texts = [*SAMPLE, asked, asked + " again", asked.upper() + "!"]
    groups = groups_of([f"{system(400)}\n{text}" for text in texts])
    assert len(set(groups[-3:])) == 1
    assert groups.count(groups[-1]) == 3


@pytest.mark.parametrize("groups_of", [of_texts, of_ids])
def test_siblings_of_a_long_template_still_share_a_group(groups_of):
    template = f"{system(80)} translate the word WORD into Latin"
    words = ["river", "bridge", "winter", "name", "story", "night", "copper", "lamp", "sail", "anchor", "field", "crow"]
    groups = groups_of([*SAMPLE, *(template.replace("WORD", word) for word in words)])
    assert len(set(groups[-len(words) :])) == 1


@pytest.mark.parametrize("groups_of", [of_texts, of_ids])
def test_the_order_makes_no_difference(groups_of):
    texts = [f"{system(400)}\n{text}" for text in SAMPLE]
    assert groups_of(texts) == groups_of(texts[::-1])[::-1]

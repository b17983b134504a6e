"""Tables merge without mixing up prompts, and near copies are found across them."""

from dataclasses import replace

import numpy as np

from tests.training.table_examples import small_table
from training.merge import merge_tables, without_near


def test_merged_table_holds_every_outcome_once():
    one, two = small_table(20, 0, "one"), small_table(30, 1, "two")
    two.models["model"] = two.models["model"].replace("middle", "other")
    two.outcomes["model"] = two.outcomes["model"].replace("middle", "other")
    merged = merge_tables([one, two], "both")
    assert merged.model_names == ["cheap", "middle", "dear", "other"]
    quality = merged.matrix("quality")
    assert np.isfinite(quality).sum() == 20 * 3 + 30 * 3
    assert np.array_equal(quality[:20, :3], one.matrix("quality"))
    assert np.isnan(quality[:20, 3]).all()


def test_near_copies_of_the_other_table_are_left_out():
    one, two = small_table(20, 0, "one"), small_table(20, 1, "two")
    copies = one.prompts["text"].head(5).str.upper().tolist()
    two = replace(two, prompts=two.prompts.assign(text=copies + two.prompts["text"].tolist()[5:]))
    left = without_near(one, two)
    assert not set(left.prompts["prompt_id"]) & {f"p{i}" for i in range(5)}
    assert 0 < len(left.prompts) <= 15

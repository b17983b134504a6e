"""Several tables as one, and what of a table is near another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.dataset import Table
from training.near_duplicates import near_duplicate_groups


def merge_tables(tables: Sequence[Table], name: str) -> Table:
    """One table of all prompts; a model that stands in several tables is one model (the first one's prices stand).

    Ids and groups are told apart by the table's name; pairs that no table has stay missing. Near-duplicates across
    tables share a group.
    """
    prompts = pd.concat([_renamed(table, table.prompts) for table in tables], ignore_index=True)
    outcomes = pd.concat([_renamed(table, table.outcomes) for table in tables], ignore_index=True)
    models = pd.concat([table.models for table in tables], ignore_index=True)
    prompts["group"] = near_duplicate_groups([str(text) for text in prompts["text"]])
    return Table(prompts, outcomes, models.drop_duplicates("model").reset_index(drop=True), name)


def _renamed(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(prompt_id=table.name + "/" + frame["prompt_id"].astype(str))


def without_near(table: Table, other: Table) -> Table:
    """``table`` without the prompts that have a near-duplicate in ``other``."""
    n = len(table.prompts)
    texts = [str(text) for text in [*table.prompts["text"], *other.prompts["text"]]]
    groups = np.array(near_duplicate_groups(texts))
    keep: npt.NDArray[np.bool_] = ~np.isin(groups[:n], groups[n:])
    return table.take(keep)

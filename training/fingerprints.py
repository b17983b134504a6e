"""sha256 of what a router was trained on, so that two versions can be told apart and compared honestly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from router_runtime.bundle import Bundle
from training.dataset import OUTCOME_COLUMNS, Table, labelled_part


def data_fingerprint(table: Table) -> str:
    """sha256 of prompts (id, text, group) and outcomes; the order of rows does not count."""
    digest = hashlib.sha256()
    prompts = table.prompts[["prompt_id", "text", "group"]].astype(str)
    outcomes = table.outcomes[[c for c in (*OUTCOME_COLUMNS, "weight", "pscore") if c in table.outcomes]].astype(str)
    for frame in (prompts, outcomes):
        hashes: Any = pd.util.hash_pandas_object(frame, index=False).sort_values()
        digest.update(hashes.to_numpy().tobytes())
    return digest.hexdigest()


def trained_on(bundle: Bundle, table: Table) -> bool:
    """Whether the bundle was learnt from this very table: from what has a label there, which is all that is learnt."""
    return bundle.manifest.fingerprints.get("data_sha256") == data_fingerprint(labelled_part(table)[0])


def price_fingerprint(tables: Iterable[Table]) -> str:
    """sha256 of every model's prices; the order of models does not count."""
    rows = {
        (str(row.model), str(row.price_in_per_m), str(row.price_out_per_m))
        for table in tables
        for row in table.models.itertuples()
    }
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()

"""A table → the targets of the learner: qualities, tasks and tokens of each prompt, NaN where nobody knows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from router_runtime.errors import TooFewRows
from training.dataset import Table

Floats = npt.NDArray[np.float32]

MIN_PROMPTS = 20
MAX_DOMAINS = 48
MIN_PER_DOMAIN = 20
OTHER = "other"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Targets:
    """What is to be predicted of n prompts by M models in D domains.

    Args:
        models: M names.
        domains: D names.
        quality: float32 [n, M], 0..1, NaN = not labelled.
        weight: float32 [n], mean label weight of the prompt.
        domain: intp [n], index into ``domains``, -1 = unknown.
        input_tokens: float32 [n, M], as the provider counted them, NaN = unknown.
        log_tokens: float32 [n, M], log(1 + output tokens), NaN = unknown.
        latency: float32 [n, M], ms, NaN = unknown.
        groups: intp [n], near-duplicates share a number.
    """

    models: tuple[str, ...]
    domains: tuple[str, ...]
    quality: Floats
    weight: Floats
    domain: npt.NDArray[np.intp]
    input_tokens: Floats
    log_tokens: Floats
    latency: Floats
    groups: npt.NDArray[np.intp]

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Which pairs of prompt and model have a quality, bool [n, M]."""
        return np.isfinite(self.quality)

    def take(self, rows: npt.NDArray[np.intp]) -> Targets:
        """The prompts ``rows``."""
        return Targets(
            self.models,
            self.domains,
            self.quality[rows],
            self.weight[rows],
            self.domain[rows],
            self.input_tokens[rows],
            self.log_tokens[rows],
            self.latency[rows],
            self.groups[rows],
        )


def targets_of(table: Table, label: str = "task") -> Targets:
    """The targets of ``table``; the task head learns the column ``label`` of its prompts.

    Raises:
        TooFewRows: Where fewer than ``MIN_PROMPTS`` prompts have a quality of any model.
    """
    quality = table.matrix("quality").astype(np.float32)
    used = int(np.isfinite(quality).any(axis=1).sum())
    if used < MIN_PROMPTS:
        raise TooFewRows(f"{table.name}: {used} labelled prompts, {MIN_PROMPTS - used} more are needed to learn from")
    domains, domain = _domains(table.prompts[label])
    with np.errstate(invalid="ignore"):
        log_tokens = np.log1p(table.matrix("output_tokens")).astype(np.float32)
    return Targets(
        models=tuple(table.model_names),
        domains=domains,
        quality=quality,
        weight=_prompt_weights(table),
        domain=domain,
        input_tokens=table.matrix("input_tokens").astype(np.float32),
        log_tokens=log_tokens,
        latency=table.matrix("latency_ms").astype(np.float32),
        groups=pd.factorize(table.prompts["group"], use_na_sentinel=False)[0],
    )


def _prompt_weights(table: Table) -> Floats:
    if "weight" not in table.outcomes.columns:
        return np.ones(len(table.prompts), dtype=np.float32)
    weight = table.matrix("weight")
    known = np.isfinite(weight)
    return np.asarray(np.where(known, weight, 0).sum(1) / np.maximum(known.sum(1), 1), dtype=np.float32)


def _domains(column: pd.Series) -> tuple[tuple[str, ...], npt.NDArray[np.intp]]:
    """Names of the most frequent labels, rare ones joined, and each prompt's index."""
    names = [UNKNOWN if pd.isna(name) else str(name) for name in column]
    counts = Counter(name for name in names if name != UNKNOWN)
    frequent = [name for name, count in counts.most_common(MAX_DOMAINS) if count >= MIN_PER_DOMAIN]
    kept = sorted(frequent)
    if len(counts) > len(kept) or not kept:
        kept.append(OTHER)
    place = {name: index for index, name in enumerate(kept)}
    rest = place.get(OTHER, -1)
    index = [-1 if name == UNKNOWN else place.get(name, rest) for name in names]
    return tuple(kept), np.array(index, dtype=np.intp)

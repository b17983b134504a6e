"""SPROUT (Somerstep et al. 2025, CARROT): a row for each prompt, one struct column for each model → full information.

Columns: ``key, dataset, dataset_level, dataset_idx, prompt, golden_answer`` and for each model a struct (or JSON text)
with ``score`` 0..1, ``num_input_tokens``, ``num_output_tokens``, ``response`` …. It holds no costs: pass prices in a
mapping, e.g. ``prices: {openai-gpt-4o: {input: 2.5, output: 10}}``.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.importers.collecting import Outcome
from training.importers.reading import Row
from training.importers.values import BadValue, decoded, number, prompt_text, text

ABOUT_THE_PROMPT = ("key", "dataset", "dataset_level", "dataset_idx", "prompt", "golden_answer")


def convert(row: Row) -> list[Outcome]:
    """The outcomes of one row; a model without a score is left out of it.

    Raises:
        BadValue: Where a field cannot be used, or no model has a score.
    """
    prompt = prompt_text(row.get("prompt"), "prompt")
    if prompt is None:
        raise BadValue("prompt", "is missing")
    task = text(row.get("dataset"), "dataset")
    key = text(row.get("key"), "key")
    found = []
    for model, cell in row.items():
        answer = decoded(cell)
        if model in ABOUT_THE_PROMPT or not isinstance(answer, Mapping):
            continue
        quality = number(answer.get("score"), f"{model}.score", 0.0, 1.0)
        if quality is None:
            continue
        count_in, count_out = (
            number(answer.get(f"num_{side}_tokens"), f"{model}.num_{side}_tokens") for side in ("input", "output")
        )
        identity = None if key is None else f"{task or 'sprout'}-{key}"
        found.append(Outcome(identity, prompt, model, quality, count_in, count_out, task=task, domain=task))
    if not found:
        raise BadValue("<model>.score", "no model has a score")
    return found

"""RouterBench's wide table (Hu et al. 2024): a row for each prompt, three columns for each model → full information.

Columns: ``sample_id, prompt, eval_name, <model>`` (quality 0..1), ``<model>|model_response``, ``<model>|total_cost``
(USD), ``oracle_model_to_route_to``. It is published as a pickle, which is refused: convert it to Parquet or CSV first.
"""

from __future__ import annotations

from training.importers.collecting import Outcome
from training.importers.reading import Row
from training.importers.values import BadValue, number, prompt_text, text

COST = "|total_cost"
FEW_SHOT = ".val."


def convert(row: Row) -> list[Outcome]:
    """The outcomes of one row; a model without a quality is left out of it.

    Raises:
        BadValue: Where a field cannot be used, or no model has both columns.
    """
    prompt = prompt_text(_listed(row.get("prompt")), "prompt")
    if prompt is None:
        raise BadValue("prompt", "is missing")
    models = [column.removesuffix(COST) for column in row if column.endswith(COST)]
    task = text(row.get("eval_name"), "eval_name")
    found = []
    for model in models:
        if model not in row:
            raise BadValue(model, "has a cost but no quality column")
        quality = number(row[model], model, 0.0, 1.0)
        if quality is not None:
            cost = number(row[model + COST], model + COST)
            identity = text(row.get("sample_id"), "sample_id")
            found.append(Outcome(identity, prompt, model, quality, cost_usd=cost, task=task, domain=_domain(task)))
    if not found:
        raise BadValue(f"<model>{COST}", "no model has a quality and a cost")
    return found


def _listed(prompt: object) -> object:
    """A prompt of several turns is a list, in CSV its Python text: one item of text is taken out of it."""
    if isinstance(prompt, str) and prompt[:2] in ("['", '["') and prompt[-2:] in ("']", '"]'):
        return prompt[2:-2].replace("\\n", "\n")
    return prompt


def _domain(task: str | None) -> str | None:
    """The family of a task: ``mmlu-anatomy`` is of ``mmlu``."""
    return None if task is None else task.partition("-")[0].partition(FEW_SHOT)[0]

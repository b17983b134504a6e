"""The measurements behind ``bench_quality``: one table, leave one table out, leave one model out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import router_runtime.features
import training.baselines
import training.representations
from training.crossval import Folds, baselines_out_of_fold, out_of_fold
from training.dataset import Table, load_table
from training.evaluate import evaluate_predictions, pair_by_family
from training.feature_matrix import featurise
from training.figures import report_figures
from training.fingerprints import data_fingerprint
from training.held_out import HeldOut, held_out
from training.learner import learner
from training.merge import merge_tables, without_near
from training.outcome_models import LearnConfig
from training.progress import Progress
from training.race import Race, as_json, estimates, runner
from training.served import predict_table, served_parts
from training.splits import grouped_folds
from training.sweep import Field, Predicted

REPLICATES = 1000
PRIOR_STEP = 0.05


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark.

    Args:
        data: Folder of the tables.
        cache: Folder where held-out predictions are kept; they depend on data, folds, settings and code alone.
        folds: Folds by group.
        seed: Seed of folds, bootstrap and learning.
        progress: Says what is being done.
        threads: Threads of the trees; the result does not depend on them.
    """

    data: Path
    cache: Path
    folds: int
    seed: int
    progress: Progress
    threads: int = 2

    @property
    def config(self) -> LearnConfig:
        """The learner's defaults: one set of settings for all tables."""
        defaults = LearnConfig(seed=self.seed)
        return replace(defaults, trees=replace(defaults.trees, threads=self.threads))


def measure_table(bench: Bench, name: str) -> tuple[dict, dict[str, bytes]]:
    """The report of one table's core pool on all folds, and its figures."""
    held = held_out(load_table(bench.data / name), "core")
    folds = Folds(grouped_folds(held.truth.groups, bench.folds, bench.seed), tuple(range(bench.folds)))
    bench.progress.say(f"== {name}: {len(held.texts)} prompts × {len(held.truth.models)} models")
    others = cached_baselines(bench, held, folds)
    ours = cached_ours(bench, held, folds)
    report = evaluate_predictions(held, ours, others, replicates=REPLICATES, seed=bench.seed)
    report["families"] = pair_by_family(held.truth, {"ours": ours, **others}, seed=bench.seed)
    return report, report_figures(held, ours, others)


def keep(bench: Bench, name: str, predicted: Predicted) -> None:
    """Keeps predictions beside the cache, for a closer look at a figure."""
    bench.cache.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(bench.cache / f"{name}.npz", quality=predicted.quality, cost=predicted.cost)


def cache_key(held: HeldOut, folds: Folds, sources: Sequence[Path], settings: str = "") -> str:
    """A name for what comes of these prompts, folds, settings and this code."""
    code = "".join(file.read_text() for file in sources)
    whole = f"{data_fingerprint(held.table)}{folds.index.tobytes()!r}{settings}{code}"
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def learner_sources() -> list[Path]:
    """The code that our held-out predictions depend on: text to numbers, and what lies directly in ``training``."""
    runtime, learning = Path(router_runtime.features.__file__).parent, Path(training.baselines.__file__).parent
    learnt = [file for file in sorted(learning.glob("*.py")) if file.stem not in ("plots", "figures")]
    return [*(runtime / f"{name}.py" for name in ("features", "structural", "words")), *learnt]


def cached_ours(bench: Bench, held: HeldOut, folds: Folds) -> Predicted:
    """Our held-out predictions, fold by fold from the cache: a run that was stopped goes on where it was."""
    settings = repr(replace(bench.config, trees=replace(bench.config.trees, threads=0)))
    key = cache_key(held, folds, learner_sources(), settings)
    learn, features = learner(bench.config, bench.progress), featurise(held.texts)
    quality, cost = np.full((2, *held.truth.quality.shape), np.nan)
    for fold in folds.test:
        path = bench.cache / f"{held.table.name}-ours-{fold}-{key}.npz"
        if not path.is_file():
            one = Folds(folds.index, (fold,))
            keep(bench, path.stem, out_of_fold(held.table, held, features, one, learn, bench.progress))
        rows = folds.index == fold
        with np.load(path) as arrays:
            quality[rows], cost[rows] = arrays["quality"][rows], arrays["cost"][rows]
    return Predicted(quality, cost)


def cached_baselines(bench: Bench, held: HeldOut, folds: Folds) -> dict[str, Predicted]:
    """The baselines' held-out predictions, from the cache where data, folds and their code are the same."""
    key = cache_key(held, folds, [Path(str(m.__file__)) for m in (training.baselines, training.representations)])
    found = {}
    for name in training.baselines.BASELINES:
        path = bench.cache / f"{held.table.name}-{name}-{key}.npz"
        if not path.is_file():
            one = baselines_out_of_fold(held, folds, names=[name], seed=bench.seed, progress=bench.progress)[name]
            keep(bench, path.stem, one)
        with np.load(path) as arrays:
            found[name] = Predicted(arrays["quality"], arrays["cost"])
    return found


def declared(held: HeldOut) -> dict[str, float]:
    """Priors as a registry would declare them: each model's true mean quality, to the nearest 0.05.

    That is generous to the router that knows priors alone: its order of models is nearly the true one.
    """
    means = held.truth.quality.mean(axis=0)
    return {m: float(round(q / PRIOR_STEP) * PRIOR_STEP) for m, q in zip(held.truth.models, means, strict=True)}


def by_priors(held: HeldOut, priors: Mapping[str, float], costs: Predicted) -> Predicted:
    """The Zero router of priors: the same q̂ for every prompt, and each model's mean predicted cost."""
    quality = np.array([priors[model] for model in held.truth.models])
    shape = held.truth.quality.shape
    return Predicted(np.broadcast_to(quality, shape), np.broadcast_to(costs.cost.mean(axis=0), shape))


def leave_one_table_out(bench: Bench, name: str, others: Sequence[str]) -> dict:
    """AIQ on a table that was not learnt from, all its models described by priors, minus that of the priors alone."""
    held = held_out(load_table(bench.data / name), "core")
    bench.progress.say(f"== day one: {name} after {', '.join(others)}")
    merged = merge_tables([pool_of(load_table(bench.data / other)) for other in others], "+".join(others))
    parts = learner(bench.config, bench.progress)(without_near(merged, held.table))
    priors = declared(held)
    strangers = replace(served_parts(parts), models=tuple(f"other:{model}" for model in parts.models))
    ours = predict_table(strangers, held.table, featurise(held.texts), priors=priors)
    return {"table": name, "learnt_from": list(others), **day_one(bench, held, ours, priors)}


def leave_one_model_out(bench: Bench, name: str) -> dict:
    """The same for each model of a table in turn, learnt from the others; AIQ averaged over the models left out."""
    held = held_out(load_table(bench.data / name), "core")
    rows = grouped_folds(held.truth.groups, bench.folds, bench.seed) == 0
    seen, unseen = held.table.take(~rows), replace(held, table=held.table.take(rows), truth=held.truth.take(rows))
    features, priors = featurise(unseen.texts), declared(held)
    race = Race(Field(unseen.truth), replicates=REPLICATES, seed=bench.seed)
    gains, each = [], {}
    for model in held.truth.models:
        bench.progress.say(f"== day one: {name} without {model}")
        parts = learner(bench.config, bench.progress)(without_model(seen, model))
        ours = predict_table(served_parts(parts), unseen.table, features, priors=priors)
        values = race.run(runner(race.field, ours))["aiq"]
        base = race.run(runner(race.field, by_priors(unseen, priors, ours)))["aiq"]
        gains.append(values - base)
        each[model] = round(float(gains[-1][0]), 6)
    mean = as_json(estimates({"aiq": np.mean(gains, axis=0)}))
    return {"table": name, "difference": mean, "by_model": each}


def day_one(bench: Bench, held: HeldOut, ours: Predicted, priors: Mapping[str, float]) -> dict:
    """AIQ of ours, of the priors alone, and their paired difference."""
    race = Race(Field(held.truth), replicates=REPLICATES, seed=bench.seed)
    values = race.run(runner(race.field, ours))
    base = race.run(runner(race.field, by_priors(held, priors, ours)))
    difference = estimates({"aiq": values["aiq"] - base["aiq"]})
    return {
        "ours": as_json(estimates({"aiq": values["aiq"]})),
        "priors_alone": as_json(estimates({"aiq": base["aiq"]})),
        "difference": as_json(difference),
    }


def pool_of(table: Table) -> Table:
    """The core pool of a table."""
    return held_out(table, "core").table


def without_model(table: Table, model: str) -> Table:
    """The table as if the model did not exist."""
    return replace(
        table,
        models=table.models[table.models["model"] != model].reset_index(drop=True),
        outcomes=table.outcomes[table.outcomes["model"] != model].reset_index(drop=True),
    )

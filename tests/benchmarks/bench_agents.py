"""Task matching: ``python -m tests.benchmarks.bench_agents --data ../shared/data --out DIR``.

One agent for each domain of the real tables (code, math, knowledge, chat …), with its label and a sentence of
description as a person would write it. A learned task head is fitted on four fifths of the prompts (by group) and
exported into a bundle; the held-out fifth is matched through ``router.agents.match`` and compared with a keyword
heuristic that is given the same labels and the words that a person would list for each. Accuracy, its paired difference
with a bootstrap interval over groups, and the confusion matrix.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from router_runtime import Router
from router_runtime.registry import Registry
from router_runtime.registry_agents import AgentEntry
from router_runtime.registry_reader import load_registry
from training.dataset import Table, load_table
from training.learner import learner
from training.merge import merge_tables
from training.outcome_models import LearnConfig
from training.splits import grouped_folds
from training.train import TrainSettings, train

KINDS: dict[str, str] = {
    "code": "writes and completes programs and functions",
    "math": "solves mathematical problems step by step",
    "science": "answers questions of physics, chemistry, biology, medicine and engineering",
    "knowledge": "answers questions of law, history, economics, psychology and general knowledge",
    "reasoning": "solves logic puzzles",
    "commonsense": "answers everyday questions of common sense",
    "writing": "writes sentences, stories and texts",
    "tool_use": "calls functions and tools with the right arguments",
    "chat": "talks, explains, rewrites and follows instructions over several turns",
}
"""The tables' domains, each with a sentence as a person would describe its agent."""
KEYWORDS: dict[str, str] = {
    "code": "code function python java program return def class implement algorithm bug compile script",
    "math": "calculate sum equation solve number many total integer probability triangle percent times twice",
    "science": "energy atom reaction mass velocity temperature molecule acid force gene species patient cell circuit",
    "knowledge": "law court century war market price company theory government contract moral tax society treaty",
    "reasoning": "puzzle logic deduce clue house row left right neighbour true false statement",
    "commonsense": "likely probably would person people usually home want go put place",
    "writing": "write story essay sentence poem letter describe compose words paragraph",
    "tool_use": "call tool function api parameters weather search booking user retrieve get find",
    "chat": "please explain rewrite imagine you email advice tell me help conversation",
}
TABLES = ("mmlu_pro", "zeroeval", "llmrouter", "bfcl", "routellm")
UNSEEN, DEFAULT_BUNDLE = "routellm", Path("models/default")
MOST_UNSEEN = 3000


def joined(data: Path, most: int, seed: int) -> Table:
    """Prompts of all tables, at most ``most`` of a domain, with two models' outcomes of each table."""
    tables = []
    for name in TABLES:
        if (data / name).is_dir():
            table = load_table(data / name)
            models = table.models.head(2)
            seen = table.outcomes[table.outcomes["model"].isin(models["model"])]
            tables.append(
                replace(table, prompts=table.prompts.assign(task=table.prompts["domain"]), outcomes=seen, models=models)
            )
    merged = merge_tables(tables, "tasks")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(merged.prompts))
    place = merged.prompts.iloc[order].groupby("domain").cumcount().sort_index().to_numpy()
    return merged.take(place < most)


def keyword_matches(texts: list[str], truth: list[str]) -> list[str]:
    """The kind of those in ``truth`` whose listed words occur most; the commonest one where none does."""
    usual = Counter(truth).most_common(1)[0][0]
    words = {kind: set(KEYWORDS[kind].split()) for kind in sorted(set(truth), key=lambda kind: (kind != usual, kind))}
    found = []
    for text in texts:
        counts = Counter(re.findall(r"[a-z]+", text.lower()))
        hits = {kind: sum(counts[word] for word in listed) for kind, listed in words.items()}
        found.append(max(hits, key=lambda kind: hits[kind]))
    return found


def registry(kinds: Collection[str] = tuple(KINDS)) -> Registry:
    """The shipped one with an agent for each of ``kinds``."""
    agents = {kind: AgentEntry(kind, description=KINDS[kind], labels=(kind,)) for kind in kinds}
    return replace(load_registry(), agents=agents)


def run(data: Path, most: int, seed: int) -> dict[str, Any]:
    """All figures."""
    table = joined(data, most, seed)
    held = grouped_folds(table.prompts["group"].to_numpy(), 5, seed) == 0
    fitted, test = table.take(~held), table.take(held)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        settings = TrainSettings(learn=learner(LearnConfig(seed=seed, sketch=0)), seed=seed, measured=False)
        train(fitted, bundle, settings, tracker=None)
        router = Router.open(bundle, registry=registry(), state_dir=None)
        texts, truth = test.prompts["text"].tolist(), test.prompts["domain"].tolist()
        ours = [router.agents.match(text).name for text in texts]
    theirs = keyword_matches(texts, truth)
    return report_of(truth, ours, theirs, test.prompts["group"].tolist(), seed) | {"trained_on": len(fitted.prompts)}


def with_default_bundle(data: Path, seed: int) -> dict[str, Any]:
    """The same figures of the shipped bundle, on prompts of a table that it never saw."""
    prompts = load_table(data / UNSEEN).prompts
    prompts = prompts.sample(min(MOST_UNSEEN, len(prompts)), random_state=seed)
    texts, truth = prompts["text"].tolist(), prompts["domain"].tolist()
    kinds = [kind for kind in KINDS if kind in truth]
    router = Router.open(DEFAULT_BUNDLE, registry=registry(kinds), state_dir=None)
    ours = [router.agents.match(text).name for text in texts]
    report = report_of(truth, ours, keyword_matches(texts, truth), prompts["group"].tolist(), seed)
    return {key: value for key, value in report.items() if key != "confusion"}


def report_of(truth: list[str], ours: list[str], theirs: list[str], groups: list[str], seed: int) -> dict[str, Any]:
    """Accuracies, the paired difference over groups, the confusion."""
    kinds = np.array(truth)
    weight = 1.0 / pd.Series(kinds).map(pd.Series(kinds).value_counts()).to_numpy()
    right, keyword = np.array(truth) == np.array(ours), np.array(truth) == np.array(theirs)
    difference = right.astype(float) - keyword
    _, place = np.unique(groups, return_inverse=True)
    sums = np.bincount(place, weights=difference)
    sizes = np.bincount(place)
    draws = np.random.default_rng(seed).integers(0, len(sums), (2000, len(sums)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    names = list(KINDS)
    confusion = pd.crosstab(pd.Series(truth), pd.Series(ours)).reindex(index=names, columns=names, fill_value=0)
    return {
        "prompts": len(truth),
        "accuracy": round(float(right.mean()), 4),
        "keyword_accuracy": round(float(keyword.mean()), 4),
        "accuracy_each_domain_alike": round(float(np.average(right, weights=weight)), 4),
        "keyword_accuracy_each_domain_alike": round(float(np.average(keyword, weights=weight)), 4),
        "commonest_kind": round(max(Counter(truth).values()) / len(truth), 4),
        "difference": [round(float(v), 4) for v in (difference.mean(), low, high)],
        "confusion": {"kinds": names, "rows_true_columns_matched": confusion.to_numpy().tolist()},
    }


def main() -> None:
    """Runs and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("tests/benchmarks/report/agents"))
    parser.add_argument("--most", type=int, default=1500, help="prompts of a domain")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = run(args.data, args.most, args.seed)
    if (args.data / UNSEEN).is_dir():
        report["default_bundle_on_unseen_table"] = with_default_bundle(args.data, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "agents.json").write_text(json.dumps(report, indent=2) + "\n")
    names = report["confusion"]["kinds"]
    rows = "".join(
        f"| {name} | {' | '.join(map(str, row))} |\n"
        for name, row in zip(names, report["confusion"]["rows_true_columns_matched"], strict=True)
    )
    low, high = report["difference"][1:]
    (args.out / "agents.md").write_text(
        f"# Matching tasks to agents\n\n{report['prompts']} held-out prompts: {report['accuracy']:.1%} right, keywords"
        f" {report['keyword_accuracy']:.1%}, always the commonest {report['commonest_kind']:.1%}; difference"
        f" {report['difference'][0]:+.1%} ({low:+.1%} to {high:+.1%}).\n\n| true \\ matched | {' | '.join(names)} |\n"
        f"|{'---|' * (len(names) + 1)}\n{rows}"
    )
    print(json.dumps({key: value for key, value in report.items() if key != "confusion"}, indent=2))


if __name__ == "__main__":
    main()

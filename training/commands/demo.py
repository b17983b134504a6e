"""``demo``: the whole loop on the shipped sample, in a minute: train, register, route, count the savings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from router_runtime import Router
from router_runtime.cli import render
from router_runtime.explain import explain
from router_runtime.records import Decision
from training.commands.numbers import at_least
from training.dataset import Table, load_table
from training.learner import learner, learner_params
from training.outcome_models import LearnConfig
from training.progress import Progress
from training.tracking import Tracker
from training.train import Trained, TrainSettings, train

HELP = "Trains on the shipped sample, registers the version in MLflow, and routes a page of prompts."
EXAMPLES = """examples:
  python -m training demo
  python -m training demo --json --out out/demo
"""
SIMULATED = "The shipped sample is simulated: no model was called, so its figures say nothing about the real models."
MLFLOW_UI = "make mlflow-ui, then open http://127.0.0.1:5000 and tick the versions of the registered model"


class Example(NamedTuple):
    """A prompt of the page."""

    kind: str
    text: str


PAGE = (
    Example("small talk", "Hi! Suggest three names for a grey cat."),
    Example(
        "extraction", "Extract name, date and total as JSON: 'Invoice 4411, Dovetail Labs, 3 May, total 1,204.50 EUR'"
    ),
    Example("translation", "Translate into Portuguese: 'The meeting moved to Thursday at nine.'"),
    Example("classification", "Is this review positive or negative? 'The battery died after two days.'"),
    Example("easy code", "Write a Python function that reverses the words of a sentence."),
    Example(
        "hard code",
        "Our Go service runs in 12 replicas and loses updates under load. Find the race and fix it without a global "
        "lock; give a proof sketch of the invariant:\n"
        "```go\nfunc (s *Store) Add(k string) { v := s.m[k]; s.m[k] = v+1 }\n```",
    ),
    Example("arithmetic", "A train leaves at 9:40 and arrives at 13:05. How long does the journey take?"),
    Example(
        "hard maths",
        "Prove that every bounded monotone sequence of real numbers converges, and give a counterexample over the "
        "rationals.",
    ),
    Example(
        "legal summary",
        "Summarise the indemnity and limitation-of-liability clauses of this agreement for a board, with the risks of "
        "each:\n"
        "1. The Supplier shall indemnify the Customer against all losses arising from third-party claims ...",
    ),
    Example("Chinese", "请用三句话解释什么是机器学习。"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--sample", type=Path, default=Path("data/sample"), metavar="DIR", help="table to learn from")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="folder of the bundle")
    parser.add_argument("--seed", type=at_least(0), default=0)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Trains, registers, routes; gives what was chosen and saved."""
    progress = Progress(enabled=not args.quiet)
    progress.say(SIMULATED)
    table = load_table(args.sample)
    done = train(table, args.out, settings(args.seed, progress), tracker=Tracker(), progress=progress)
    strongest = strongest_model(table)
    router = Router.open(args.out, state_dir=None, seed=args.seed)
    router.route("warm-up")
    decisions = [router.route(example.text) for example in PAGE]
    full = explain(router, PAGE[5].text)
    document = {
        "simulated": True,
        "bundle": str(args.out),
        "bundle_version": done.bundle.version,
        "registered_version": None if done.registered is None else done.registered.version,
        "strongest": strongest,
        "choices": [_row(example, made, strongest) for example, made in zip(PAGE, decisions, strict=True)],
    }
    return document, _text(document, done, render.explanation(full))


def settings(seed: int, progress: Progress) -> TrainSettings:
    """One held-out fold and the quick baselines: enough to look at, in seconds."""
    config = LearnConfig(seed=seed)
    return TrainSettings(
        learn=learner(config, progress),
        seed=seed,
        params=learner_params(config),
        note=SIMULATED,
    )


def strongest_model(table: Table) -> str:
    """The model of the highest mean quality: what a team that calls one model for everything would call."""
    return str(table.outcomes.groupby("model")["quality"].mean().idxmax())


def _row(example: Example, made: Decision, strongest: str) -> dict[str, Any]:
    always = next(one for one in made.candidates if one.model == strongest)
    return {
        "kind": example.kind,
        "chosen": made.chosen,
        "quality": round(made.best.quality, 3),
        "cost_usd": made.best.cost_usd,
        "strongest_quality": round(always.quality, 3),
        "strongest_cost_usd": always.cost_usd,
    }


def _text(document: dict[str, Any], done: Trained, explanation: str) -> str:
    strongest, choices = document["strongest"], document["choices"]
    rows = [("prompt", "choice", "quality", "cost USD", f"{strongest}", "its cost", "saved")]
    rows += [
        (
            *(one["kind"], one["chosen"], f"{one['quality']:.2f}", f"{one['cost_usd']:.6f}"),
            *(f"{one['strongest_quality']:.2f}", f"{one['strongest_cost_usd']:.6f}"),
            f"{1 - one['cost_usd'] / one['strongest_cost_usd']:.0%}",
        )
        for one in choices
    ]
    spent = sum(one["cost_usd"] for one in choices)
    always = sum(one["strongest_cost_usd"] for one in choices)
    quality = sum(one["quality"] for one in choices) / len(choices)
    best = sum(one["strongest_quality"] for one in choices) / len(choices)
    return "\n".join(
        [
            SIMULATED,
            "",
            f"What `pointsman explain --bundle {document['bundle']}` says of the {PAGE[5].kind} prompt:",
            "",
            explanation,
            "",
            f"A page of prompts, beside always using {strongest} (predicted quality and cost):",
            "",
            *render.table(rows, numeric={2, 3, 4, 5, 6}),
            "",
            f"Together ${spent:.4f} instead of ${always:.4f}: {1 - spent / always:.0%} saved, at predicted quality "
            f"{quality:.2f} instead of {best:.2f}.",
            *_held_out(done),
            f"Router version {document['registered_version']} is registered in MLflow. To compare versions:",
            f"  {MLFLOW_UI}",
        ]
    )


def _held_out(done: Trained) -> list[str]:
    """What the held-out prompts of the sample say, where there were enough."""
    if done.report is None:
        return []
    share = done.report["cost_at_quality"].get("95")
    if share is None:
        return ["On held-out prompts of the sample, 95 % of the strongest model's quality was not reached."]
    return [f"On held-out prompts of the sample, 95 % of the best model's quality costs {share:.0%} of its money."]

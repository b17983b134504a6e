"""The pipeline: a table or log → held-out figures → one router fitted on all rows → bundle → MLflow version.

Nothing is written to the target folder, and nothing registered, before every check has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle, open_bundle
from router_runtime.bundle_writer import require_bundle_place, write_bundle
from router_runtime.encoder import TextEncoder
from router_runtime.errors import TooFewRows
from router_runtime.features import Features
from training.crossval import Folds, Learn, baselines_out_of_fold, out_of_fold, restrict, restrict_all
from training.dataset import Table, labelled_part
from training.evaluate import evaluate_predictions
from training.export import export_graph
from training.feature_matrix import AnyFeatures, featurise
from training.figures import report_figures
from training.held_out import HeldOut, held_out
from training.logged import is_log, logged_report
from training.packaging import make_card, make_manifest, manifest_sha256, run_record
from training.parity import MIN_ROWS, check_parity
from training.progress import QUIET, Progress
from training.run_record import Registered, RunRecord, VersionStore
from training.scratch import scratch
from training.splits import grouped_folds

MIN_LABELS = 50
PARITY_PROMPTS = 1500
PARITY_TEXTS = (
    "",
    " ",
    "\n",
    "Ünïcödé und Größe",
    "今天天气很好",
    "اكتب قصيدة",
    "שלום עולם",
    "😀🎉",
    "\ud800",
    "x" * 9000,
)
FAST_BASELINES = ("task_table", "knn", "tfidf_logistic")


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Args:
        learn: Fits a router on a table and the features of its prompts.
        seed: Seed of splits, bootstrap and learning.
        folds: Folds of the split by group.
        every_fold: Hold out every fold in turn; else one fold only, which is faster.
        baselines: Which fitted baselines run beside it.
        pool: Models to measure on: ``auto``, ``core`` or ``all``; all of them are learnt from.
        params: Settings of the learner, for the record.
        note: What the model card says first under limits, e.g. that the data are simulated.
        measured: False holds nothing out and claims nothing.
        elsewhere: What was measured of routers like it, for the card of one that holds nothing out.
        encoder: Reads the texts beside the words; the bundle then needs the same one. ``features`` given to
            :func:`train` must be read with it.
    """

    learn: Learn
    seed: int = 0
    folds: int = 5
    every_fold: bool = False
    baselines: tuple[str, ...] = FAST_BASELINES
    pool: str = "auto"
    params: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None
    measured: bool = True
    elsewhere: str = ""
    encoder: TextEncoder | None = None

    def record(self) -> dict[str, str]:
        """The settings as text, for MLflow."""
        own = {"seed": self.seed, "folds": self.folds, "every_fold": self.every_fold, "pool": self.pool}
        read = {} if self.encoder is None else {"encoder": self.encoder.fingerprint}
        return {**{name: str(value) for name, value in own.items()}, **read, **self.params}


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Args:
        bundle: The opened bundle.
        report: Figures on held-out prompts; None where the table holds too little to hold out.
        counts: Rows seen, labelled, used and dropped.
        parity: Largest difference of a probability between the fitted parts and the exported graph.
        registered: The MLflow version; None where none was wanted.
    """

    bundle: Bundle
    report: dict[str, Any] | None
    counts: dict[str, int]
    parity: float
    registered: Registered | None


def train(
    table: Table,
    out: Path,
    settings: TrainSettings,
    *,
    tracker: VersionStore | None,
    features: AnyFeatures | None = None,
    counts: Mapping[str, int] | None = None,
    progress: Progress = QUIET,
) -> Trained:
    """Trains, checks, writes and registers one router.

    Args:
        table: What to learn from.
        out: Folder of the bundle; replaced at once when all is done.
        settings: How.
        tracker: The MLflow to register in; None for none.
        features: Of the table's prompts, in order, where they are at hand (a log's may hold no text); else each prompt
            is read once, here.
        counts: Rows that reading the source has counted (seen, joined, dropped …).
        progress: Says what is being done.

    Raises:
        ConfigError: Where ``out`` holds something that is no bundle.
        TooFewRows: Where fewer than :data:`MIN_LABELS` labelled rows are left.
        ParityError: Where the graph does not predict what was fitted.
    """
    require_bundle_place(out)
    usable, answered, rows = usable_rows(table, counts or {})
    progress.say(f"{rows['rows_used']} of {rows['rows_seen']} rows are used, {len(usable.prompts)} prompts")
    known = _features(usable, settings, progress) if features is None else features.take(answered)
    report, figures = measure(usable, known, settings, progress)
    progress.say("learning from all rows")
    parts = settings.learn(usable, known)
    graph = export_graph(parts)
    difference = check_parity(parts, graph, parity_prompts(known, len(parts.models), settings.encoder))
    progress.say(f"exported {len(graph) / 1e6:.2f} MB; parity {difference:.1e}")
    manifest = make_manifest(usable, known, parts, report, rows, settings.encoder)
    card = make_card(usable, report, rows, manifest["fingerprints"], settings.note, settings.elsewhere)
    bundle = open_bundle(write_bundle(out, graph, manifest, card))
    registered = None
    if tracker is not None:
        progress.say("registering in MLflow")
        record = run_record(manifest, report, card, figures, settings.record())
        registered = register(tracker, table.name, record, bundle)
    return Trained(bundle, report, rows, difference, registered)


def _features(table: Table, settings: TrainSettings, progress: Progress) -> AnyFeatures:
    return featurise([str(text) for text in table.prompts["text"]], progress, settings.encoder)


def usable_rows(table: Table, counted: Mapping[str, int]) -> tuple[Table, npt.NDArray[np.bool_], dict[str, int]]:
    """The labelled rows, which prompts [n] they are of, and how many rows there were of each kind."""
    usable, answered = labelled_part(table)
    labelled, used = int(table.outcomes["quality"].notna().sum()), len(usable.outcomes)
    rows = {
        "rows_seen": len(table.outcomes),
        **counted,
        "rows_labelled": labelled,
        "rows_used": used,
        "rows_dropped_unlabelled": len(table.outcomes) - labelled,
        "rows_dropped_unknown_prompt_or_model": labelled - used,
    }
    if used < MIN_LABELS:
        answers = table.outcomes["prompt_id"].nunique()
        raise TooFewRows(
            f"{table.name}: {used} labelled rows are usable, {MIN_LABELS - used} more are needed "
            f"({len(table.prompts):,} prompts, of which {answers:,} were answered; {labelled:,} answers have a label)"
        )
    return usable, answered, rows


def measure(
    table: Table, features: AnyFeatures, settings: TrainSettings, progress: Progress
) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """Figures on held-out prompts; none where there are too few prompts to hold any out."""
    if not settings.measured:
        return None, {}
    try:
        if is_log(table):
            options = {"folds": settings.folds, "seed": settings.seed}
            return logged_report(table, features, settings.learn, **options, progress=progress), {}
        held = held_out(table, settings.pool)
        folds = split(held, settings)
    except TooFewRows as error:
        progress.say(f"nothing is held out: {error}")
        return None, {}
    ours = out_of_fold(table, held, features, folds, settings.learn, progress)
    others = baselines_out_of_fold(held, folds, names=settings.baselines, seed=settings.seed, progress=progress)
    rows = folds.rows
    part, ours, others = restrict(held, rows), ours.take(rows), restrict_all(others, rows)
    progress.say(f"measuring on {int(rows.sum())} held-out prompts")
    report = evaluate_predictions(part, ours, others, seed=settings.seed)
    report["held_out"] = f"{len(folds.test)} of {folds.index.max() + 1} folds by group, seed {settings.seed}"
    return report, report_figures(part, ours, others)


def split(held: HeldOut, settings: TrainSettings) -> Folds:
    """The split of the held prompts by group; fewer folds where there are fewer groups.

    Raises:
        TooFewRows: Where all prompts are of one group.
    """
    folds = min(settings.folds, len(np.unique(held.truth.groups)))
    if folds < 2:
        raise TooFewRows(f"{held.table.name}: all prompts are of one group")
    index = grouped_folds(held.truth.groups, folds, settings.seed)
    return Folds(index, tuple(range(folds)) if settings.every_fold else (0,))


def parity_prompts(features: AnyFeatures, n_models: int, encoder: TextEncoder | None = None) -> list[Features]:
    """Enough prompts for the parity gate: odd texts, then those learnt from, repeated from the start where few."""
    wanted = max(PARITY_PROMPTS, -(-MIN_ROWS // (n_models + 1)))
    odd = featurise(PARITY_TEXTS, encoder=encoder)
    prompts = [*odd, *(features[row] for row in range(min(wanted, len(features))))]
    repeats = -(-wanted // len(prompts))
    return (prompts * repeats)[: max(wanted, len(prompts))]


def register(tracker: VersionStore, name: str, record: RunRecord, bundle: Bundle) -> Registered:
    """Registers a copy of the bundle that nobody else can change meanwhile."""
    with scratch() as folder:
        copy = folder / "bundle"
        copy.mkdir()
        for file in bundle.path.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        again = open_bundle(copy)  # what is registered is a bundle that opens, even if another training replaced ours
        return tracker.register(name, record, copy, manifest_sha256(again))

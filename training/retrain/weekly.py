"""The weekly job, step by step: seal → read → learn without each fold → fit → judge → package → register → promote.

A step that was done is not done again: its output stands in the run's folder, or in MLflow. So a run that was killed is
finished by the next one on the same window, and nothing points to what is half there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from router_runtime.bundle import Bundle, open_bundle
from router_runtime.errors import EncoderMismatch, PointsmanError, StoreError
from router_runtime.opening import open_for
from router_runtime.stores.opening import local_folder
from router_runtime.stores.seal import seal
from training.gate import judge
from training.labels import LabelRules
from training.learner import learner
from training.log_table import LogTable, load_log
from training.packaging import manifest_sha256
from training.progress import QUIET, Progress
from training.promotion import CHALLENGER, CHAMPION, WITHDRAWN, Promoter, Promotion
from training.report import Question, write_report
from training.retrain.challenger import (
    fit_bundle,
    held_out_report,
    verdict_json,
    version_record,
    with_verdict,
)
from training.retrain.contest import contest, held_out_quality
from training.retrain.job import Job, Outcome
from training.retrain.speed import p99_ratio, some_prompts
from training.retrain.state import Run, State
from training.run_record import Version
from training.scratch import scratch
from training.store_window import local_log
from training.tracking import Tracker

Floats = npt.NDArray[np.float64]
Observe = Callable[[str], None]
RUN, WINDOW, OUTCOME = "retrain_run", "retrain_fingerprint", "retrain_outcome"
"""Tags of a version: the run that made it, what that run learnt from, and what became of it."""


def _nobody(_step: str) -> None:
    """Nobody looks."""


def retrain(
    job: Job,
    tracker: Tracker,
    *,
    progress: Progress = QUIET,
    observe: Observe = _nobody,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """Runs the job, or finishes one that was killed.

    Args:
        job: What to do.
        tracker: The MLflow of the versions.
        progress: Says what is being done.
        observe: Told the name of each step before it is taken.
        clock: UTC seconds since the epoch.

    Raises:
        StoreError: Where another one is at work, or the log cannot be read.
        DataError: Where the window holds too little, or too much that is malformed.
        BundleError: Where the champion does not open.
    """
    state = State(job.state)
    with state.alone():
        promoter = Promoter(tracker, job.served, state, observe)
        pending = promoter.finish_pending()
        if pending is not None:
            progress.say(f"finished the promotion of version {pending.version}, which had been interrupted")
        observe("seal")
        _seal(job.store, progress)
        with _events(job, progress) as (log, folder):
            return _Week(job, log, folder, promoter, progress, observe, clock).run()


def preview(job: Job, *, progress: Progress = QUIET) -> dict[str, Any]:
    """What a run would do now: reads and counts, writes nothing.

    Raises:
        As :func:`retrain`, for what reading finds.
    """
    with _events(job, progress) as (log, _):
        fingerprint = job.config.fingerprint(log.table, job.encoder)
        runs = State(job.state).runs(fingerprint)
        plan = "learn and judge a challenger"
        if runs and not runs[-1].done:
            plan = "finish the run that was interrupted"
        elif runs and not job.force:
            plan = "nothing: this window has its version already"
        return {"dry_run": True, "would": plan, "fingerprint": fingerprint, **_read_json(job, log)}


def _seal(store: str, progress: Progress) -> None:
    folder = local_folder(store)
    if folder is None or not folder.is_dir():
        return
    report = seal(folder)
    if report.failed:
        path, why = next(iter(report.failed.items()))
        raise StoreError(f"{path} could not be sealed: {why}")
    if report.files:
        progress.say(f"sealed {report.rows:,} events that dead writers had left")


@contextmanager
def _events(job: Job, progress: Progress) -> Iterator[tuple[LogTable, Path]]:
    """The window, and the folder that it was read from."""
    window = job.window
    progress.say(f"reading the log from {window.as_json()['since']} to {window.as_json()['until']}")
    with local_log(job.store, window.since) as folder:
        rules = LabelRules(min_used=job.config.min_rows)
        known_by = window.known_by
        log = load_log(
            folder,
            since=window.since,
            until=window.until,
            known_by=known_by,
            rules=rules,
            encoder=job.encoder,
        )
        yield log, folder


def _read_json(job: Job, log: LogTable) -> dict[str, Any]:
    return {"window": job.window.as_json(), "decisions": len(log.decisions), "counts": log.counts()}


class _Week:
    """One run over one window."""

    def __init__(
        self,
        job: Job,
        log: LogTable,
        folder: Path,
        promoter: Promoter,
        progress: Progress,
        observe: Observe,
        clock: Callable[[], float],
    ) -> None:
        self._job, self._log, self._folder, self._state = job, log, folder, promoter.state
        self._promoter, self._tracker = promoter, promoter.tracker
        self._progress, self._observe, self._clock = progress, observe, clock
        self._fingerprint = job.config.fingerprint(log.table, job.encoder)
        self._learn = learner(replace(job.config.learn, seed=job.config.seed), progress)

    def run(self) -> Outcome:
        counts = self._log.labels.counts
        self._progress.say(", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items()))
        run, known = self._find()
        for gone in self._state.sweep(run):
            self._progress.say(f"removed {gone.key}, an unfinished run of another window")
            self._tracker.end_stale(RUN, gone.key)
        outcome = self._repeat(run, known)
        if outcome is not None:
            run.tidy()
            return outcome
        verdict, version = self._version(run, known)
        return self._settle(run, verdict, version)

    def _find(self) -> tuple[Run, Version | None]:
        """The run's folder, and the version that it, or a run whose folder is lost, has registered."""
        runs = self._state.runs(self._fingerprint)
        nth = len(runs) or 1
        if self._job.force:
            finished = [run for run in runs if run.done] or self._tracker.tagged(WINDOW, self._fingerprint)
            nth = len(finished) + 1
        run = self._state.start(self._fingerprint, nth)
        self._tracker.end_stale(RUN, run.key)
        made = self._tracker.tagged(RUN, run.key)
        return run, made[0] if made else None

    def _repeat(self, run: Run, known: Version | None) -> Outcome | None:
        """What an earlier run over the same window came to; None where none came to its end."""
        if known is None or OUTCOME not in known.tags:
            return None
        self._progress.say(f"this window has its version already: {known.number}")
        verdict = run.read("verdict") or json.loads(known.tags["verdict"])
        details = self._details(run, known)
        run.write("outcome", {"outcome": known.tags[OUTCOME], "version": known.number})
        return Outcome(known.tags[OUTCOME], known.number, verdict, details, repeated=True)

    def _version(self, run: Run, known: Version | None) -> tuple[dict[str, Any], Version]:
        """The verdict, and the registered version that it is about."""
        if known is not None:
            return run.read("verdict") or json.loads(known.tags["verdict"]), known
        quality = self._held_out(run)
        report = held_out_report(self._log, quality, self._job.config.folds)
        fitted = self._fitted(run, report)
        champion = self._tracker.version(CHAMPION)
        verdict = run.read("verdict")
        if verdict is None or verdict["champion"] != (champion.number if champion else None):
            verdict = self._judge(run, quality, fitted, report, champion)
        self._observe("package")
        bundle = with_verdict(fitted.path, verdict, run.folder / "bundle")
        return verdict, self._register(run, bundle, report, verdict)

    def _held_out(self, run: Run) -> Floats:
        done = run.matrix("held_out")
        if done is not None:
            return done
        self._observe("learn")
        config = self._job.config
        found = held_out_quality(self._log, self._learn, config.folds, config.seed, self._progress)
        return run.keep_matrix("held_out", found)

    def _fitted(self, run: Run, report: dict[str, Any]) -> Bundle:
        folder = run.folder / "fitted"
        if folder.is_dir():  # it appears whole or not at all
            return open_bundle(folder)
        self._observe("fit")
        return fit_bundle(self._log, self._learn, report, folder, self._progress, self._job.encoder)

    def _judge(
        self, run: Run, quality: Floats, fitted: Bundle, report: dict[str, Any], champion: Version | None
    ) -> dict[str, Any]:
        self._observe("judge")
        config, registry = self._job.config, self._job.registry
        rival = None if champion is None else self._rival(champion)
        self._progress.say(f"judging it against {'what was served' if rival is None else 'the champion'}")
        ece = float(report["calibration"]["ece_mean"])
        found = contest(self._log, quality, rival, registry, ece=ece, seed=config.seed)
        ours = fitted.reading_with(self._job.encoder)
        ratio = p99_ratio(ours, rival, registry, some_prompts(self._log), self._clock())
        size = sum(file.stat().st_size for file in fitted.path.iterdir())
        evidence = replace(found.evidence, p99_ratio=ratio, bundle_bytes=size)
        figures = {**found.report, "ece": ece, "p99_ratio": round(ratio, 3), "bundle_bytes": size}
        run.write("figures", figures)
        number = champion.number if champion else None
        against = found.report["against"] if rival is None else f"version {number}"
        refused = evidence.refused is not None
        verdict = verdict_json(judge(evidence, config.rules), against, number)
        return run.write("verdict", {**verdict, "refused": refused})

    def _rival(self, champion: Version) -> Bundle | None:
        """The champion as it would serve; None where the registry names another encoder, so that it could not."""
        with scratch() as folder:
            bundle = self._promoter.fetch(champion.number, folder)
        try:
            return open_for(self._job.registry, bundle)
        except EncoderMismatch as error:
            self._progress.say(f"the champion cannot serve beside this registry: {error}")
            return None

    def _register(self, run: Run, bundle: Bundle, report: dict[str, Any], verdict: dict[str, Any]) -> Version:
        self._observe("register")
        self._progress.say("registering in MLflow")
        window = self._job.window.as_json()
        tags = {RUN: run.key, WINDOW: self._fingerprint, "window": f"{window['since']} to {window['until']}"}
        record = version_record(bundle, report, verdict, run.read("figures") or {}, tags)
        made = self._tracker.register(
            f"retrain {window['until'][:10]}", record, bundle.path, manifest_sha256(bundle), CHALLENGER
        )
        self._observe("registered")
        found = self._tracker.version(made.version)
        assert found is not None  # registered a line above
        return found

    def _settle(self, run: Run, verdict: dict[str, Any], version: Version) -> Outcome:
        """Promotes, or keeps the champion; nothing is left to do afterwards."""
        outcome = self._promoted(verdict, version)
        self._report(run)
        self._observe("settle")
        self._tracker.tag(version.number, {OUTCOME: outcome})
        run.tidy()
        run.write("outcome", {"outcome": outcome, "version": version.number})
        return Outcome(outcome, version.number, verdict, self._details(run, version))

    def _promoted(self, verdict: dict[str, Any], version: Version) -> str:
        champion = self._tracker.version(CHAMPION)
        number = champion.number if champion else None
        if number == version.number:
            return "promoted"  # by the run that was killed, or by a person
        if CHALLENGER not in version.aliases:
            self._tracker.point(CHALLENGER, version.number)
        if not verdict["promote"]:
            return "refused" if verdict.get("refused") else "kept"
        if number != verdict["champion"] or "rolled_back_at" in version.tags:
            self._progress.say("the champion has changed since the verdict, so it is kept")
            return "kept"
        if WITHDRAWN in version.tags:
            self._progress.say(
                "the guard of the canary withdrew this version since its verdict, so the champion is kept"
            )
            return "kept"
        self._progress.say(f"promoting version {version.number}")
        change = Promotion(version.number, number, "gate", self._job.author, str(verdict["summary"]), self._clock())
        self._promoter.promote(change)
        return "promoted"

    def _report(self, run: Run) -> None:
        """The report of the window beside the run; what serves does not depend on it, so it fails nothing."""
        out = run.folder / "report"
        if not self._job.report or (out / "report.json").exists():
            return
        self._observe("report")
        self._progress.say("writing the report")
        question = Question(self._job.window.since, self._job.window.until, source=self._log.table.name)
        try:
            write_report(self._folder, out, question, registry=self._job.registry)
        except PointsmanError as error:
            self._progress.say(f"no report: {error}")

    def _details(self, run: Run, version: Version) -> dict[str, Any]:
        folder = run.folder / "bundle"
        return {
            "fingerprint": self._fingerprint,
            "run": run.key,
            "run_id": version.run_id,
            "tracking_uri": self._tracker.uri,
            "bundle": str(folder) if folder.is_dir() else None,
            "served": str(self._job.served),
            "report": str(page) if (page := run.folder / "report" / "report.html").exists() else None,
            "figures": run.read("figures"),
            **_read_json(self._job, self._log),
        }
